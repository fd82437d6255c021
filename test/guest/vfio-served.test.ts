import { judge } from './hardware.ts';

judge('through VFIO: our own model, served to the guest', [{ slot: 16, mode: 'intx', served: true }], { iommu: true });
