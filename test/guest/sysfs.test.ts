import { judge } from './hardware.ts';

judge('through sysfs and huge pages, without an IOMMU', [{ slot: 16, mode: 'intx', brief: true }], { iommu: false });
