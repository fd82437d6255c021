/**
 * `tg3`: Thundergate's table. iperf3's TCP between a guest and this machine over one card, our served BCM57765: driven by
 * Linux's tg3, and by `fauxnic drive pci:… --tap` through VFIO. The two take the card from each other every round.
 *
 * The guest has an IOMMU, which VFIO needs; the kernel's own drivers go past it (iommu=pt), as mapping and unmapping each
 * frame would cost Linux's driver dearly. It has two processors, so that a driver in user space need not take turns with the
 * program that sends; and no BCM57762, on which Linux's own driver then stalls now and then (docs/performance.md).
 */
import { fileURLToPath } from 'node:url';
import { findModel } from '../../scripts/catalogue.ts';
import { Network } from '../../scripts/rig/network.ts';
import { GuestSession } from '../../vm/guest.ts';
import { HOST_MODULES, IOMMU, MOUNT_HOST, ON_HOST, SHARE_HOST, VFIO_MODULES } from '../util/host-in-guest.ts';
import { type BenchContext, compare, guestBench, join, serveIperf, sh } from './guest-rig.ts';
import type { Result } from './result.ts';

const SUBNET = { tap: 'tg3host', guest: '10.57.62.1', host: '10.57.62.2' };
const CARD = '0000:00:02.0';
const TAP = 'tg3tap';
const model = findModel('tg3-57765');
const fauxnic = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const FAUXNIC = `${ON_HOST} ${process.execPath} ${fauxnic}`;

/** Frees the card from whoever has it. */
const RELEASE = `
if [ -e /run/drive.pid ]; then
  kill -INT $(cat /run/drive.pid)
  while [ -e /proc/$(cat /run/drive.pid) ]; do sleep 0.1; done
  rm /run/drive.pid
  ${FAUXNIC} unbind ${CARD}
fi
[ ! -e /sys/class/net/eth0 ] || ip link set eth0 down`;
const KERNEL = `${RELEASE}
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip address flush dev eth0
eth=eth0`;
const USER = `set -e
${RELEASE}
${FAUXNIC} bind ${CARD}
${FAUXNIC} drive pci:${CARD} --tap ${TAP} > /run/drive.log 2>&1 &
echo $! > /run/drive.pid
until [ "$(cat /sys/class/net/${TAP}/carrier 2> /dev/null)" = 1 ]; do
  [ -e /proc/$(cat /run/drive.pid) ] || { cat /run/drive.log; exit 1; }
  sleep 0.1
done
eth=${TAP}`;

export function bench(): Promise<Result[]> {
  return guestBench('tg3', [model.linux!.module, ...HOST_MODULES, ...VFIO_MODULES, 'tun'], run);
}

async function run(context: BenchContext): Promise<Result[]> {
  const { parts, sockets, signal, ends, say } = context;
  say('booting');
  const socket = sockets.at('card');
  const network = await Network.open({ cards: [{ model, socket }], peer: { kind: 'tap', name: SUBNET.tap } });
  ends.push(() => network.close());
  const guest = await GuestSession.open({
    ...{ ...parts, signal, memory: 1024, processors: 2 },
    append: ['intel_iommu=on', 'iommu=pt', 'hugepages=40'],
    nics: [{ kind: 'vfio-user', socket }],
    qemuArguments: [...IOMMU, ...SHARE_HOST],
  });
  ends.push(() => guest.close());
  await serveIperf(SUBNET, context);
  await sh(guest, `set -e\n${MOUNT_HOST}`);
  const contender = (about: string, script: string, warmUp: number) => ({
    about,
    subnet: SUBNET,
    warmUp,
    ready: async () => {
      say(`the card to ${about}`);
      await sh(guest, `${script}\n${join(SUBNET)}`);
    },
  });
  return await compare(
    'tg3',
    guest,
    [contender('fauxnic drive', USER, 12), contender("Linux's tg3", KERNEL, 2)],
    context,
  );
}
