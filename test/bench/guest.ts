/**
 * `guest`: iperf3's TCP between a guest and this machine, through our e1000 model over vfio-user and through QEMU's own
 * e1000.
 *
 * One guest has both cards at once, so that kernel, driver, accelerator, memory and whatever else this machine is doing are
 * the same for both; the card that is not measured is idle. Each is joined to the kernel here as its users have it: QEMU's
 * by `-netdev tap`, ours by `--peer tap`, which is a second model with its driver. Rounds alternate.
 */

import { findModel } from '../../scripts/catalogue.ts';
import { Network } from '../../scripts/rig/network.ts';
import { GuestSession } from '../../vm/guest.ts';
import { type BenchContext, compare, guestBench, join, type Subnet, serveIperf, sh } from './guest-rig.ts';
import type { Result } from './result.ts';

/** Each has a network of its own. Which becomes eth0 is the guest's affair, so that its MAC tells it. */
interface Card extends Subnet {
  readonly about: string;
  readonly mac: string;
}
const OURS: Card = {
  ...{ about: 'our e1000', mac: '02:00:00:82:54:01' },
  ...{ tap: 'guestA', guest: '10.82.1.1', host: '10.82.1.2' },
};
const THEIRS: Card = {
  ...{ about: "QEMU's e1000", mac: '02:00:00:82:54:99' },
  ...{ tap: 'guestB', guest: '10.82.2.1', host: '10.82.2.2' },
};
const model = findModel('e1000');

export function bench(): Promise<Result[]> {
  return guestBench('guest', [model.linux!.module], run);
}

async function run(context: BenchContext): Promise<Result[]> {
  const { parts, sockets, signal, ends, say } = context;
  say('booting');
  const socket = sockets.at('card');
  const network = await Network.open({
    cards: [{ model, socket, mac: bytesOf(OURS.mac) }],
    peer: { kind: 'tap', name: OURS.tap },
  });
  ends.push(() => network.close());
  const netdev = `tap,ifname=${THEIRS.tap},script=no,downscript=no`;
  const guest = await GuestSession.open({
    ...{ ...parts, signal },
    nics: [
      { kind: 'vfio-user', socket },
      { kind: 'qemu', device: model.qemu!, netdev, mac: THEIRS.mac },
    ],
  });
  ends.push(() => guest.close());
  for (const card of [OURS, THEIRS]) {
    await serveIperf(card, context);
    await sh(guest, `eth=$(grep -l ${card.mac} /sys/class/net/*/address | cut -d / -f 5)\n${join(card)}`);
  }
  const contender = (card: Card) => ({ about: card.about, subnet: card, warmUp: 0, ready: () => Promise.resolve() });
  return await compare('guest', guest, [contender(OURS), contender(THEIRS)], context);
}

function bytesOf(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (hex) => parseInt(hex, 16));
}
