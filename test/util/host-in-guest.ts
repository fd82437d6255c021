/** This machine's file system within a guest, read only, so that the same Node runs the same code there; and VFIO. */

/** The modules it takes. */
export const HOST_MODULES = ['virtio_pci', '9pnet_virtio', '9p'];
export const VFIO_MODULES = ['vfio_iommu_type1', 'vfio_pci'];

const SHARE = 'local,path=/,security_model=none,readonly=on,mount_tag=host,multidevs=remap';

/** QEMU's arguments for it. */
export const SHARE_HOST = ['-virtfs', SHARE];
/** An IOMMU in front of all devices; the kernel is told by `intel_iommu=on`. */
export const IOMMU = ['-machine', 'kernel-irqchip=split', '-device', 'intel-iommu,intremap=on,caching-mode=on'];

/** A script that puts it at /host. What is written to /run stays in the guest. */
export const MOUNT_HOST = `
mkdir /host
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host
for folder in dev proc sys; do mount --bind /$folder /host/$folder; done
mount -t tmpfs tmpfs /host/run`;

/** Words of a command that is run there: a program of this machine's, with its paths. */
export const ON_HOST = 'chroot /host /usr/bin/env XDG_STATE_HOME=/run';
