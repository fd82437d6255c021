/** The capabilities that a function may have; a list of them is composed into its configuration space (configuration.ts). */
export * from './advanced-errors.ts';
export * from './advanced-features.ts';
export * from './alternative-routing.ts';
export { type Capability, CapabilityPart } from './capability.ts';
export * from './ids.ts';
export * from './msi.ts';
export * from './msi-x.ts';
export * from './pci-express.ts';
export * from './pci-x.ts';
export * from './power-management.ts';
export * from './serial-number.ts';
export * from './sr-iov.ts';
export * from './vital-product-data.ts';
