import { judge } from './hardware.ts';

judge(
  "through VFIO: QEMU's e1000e, behind an IOMMU",
  [
    { slot: 16, mode: 'msix' },
    { slot: 17, mode: 'msi', brief: true },
    { slot: 18, mode: 'intx', brief: true },
  ],
  { iommu: true },
);
