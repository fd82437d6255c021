import { judge } from './hardware.ts';

judge(
  'through VFIO: our own models, served to the guest',
  [
    { slot: 16, mode: 'intx', model: 'e1000' },
    { slot: 17, mode: 'msix', model: 'tg3' },
    { slot: 18, mode: 'msi', model: 'tg3-5751', brief: true },
    { slot: 19, mode: 'intx', model: 'tg3-57765', brief: true },
  ],
  { iommu: true },
);
