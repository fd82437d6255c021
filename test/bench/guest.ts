/**
 * `guest`: iperf3's TCP between a guest and this machine, through our e1000 model over vfio-user and through QEMU's own
 * e1000.
 *
 * One guest has both cards at once, so that kernel, driver, accelerator, memory and whatever else this machine is doing are
 * the same for both; the card that is not measured is idle. Each is joined to the kernel here as its users have it: QEMU's
 * by `-netdev tap`, ours by `--peer tap`, which is a second model with its driver. Rounds alternate.
 */

import { findModel } from '../../scripts/catalogue.ts';
import { awaitIperf, settle } from '../../scripts/rig/kernel-traffic.ts';
import { Network } from '../../scripts/rig/network.ts';
import { inside, obstacle, reenter } from '../../scripts/rig/reenter.ts';
import { SocketFolder } from '../../scripts/rig/socket-folder.ts';
import { StopSignals } from '../../scripts/stop-signals.ts';
import { GuestSession } from '../../vm/guest.ts';
import { guestParts } from '../../vm/parts.ts';
import { median, type Result, result } from './result.ts';

const ROUNDS = 3;
const SECONDS = 4;
const WAYS = ['tx', 'rx'] as const; // as the guest sees it
/** Each has a network of its own. Which becomes eth0 is the guest's affair, so that its MAC tells it. */
const OURS = { about: 'our e1000', mac: '02:00:00:82:54:01', tap: 'guestA', guest: '10.82.1.1', host: '10.82.1.2' };
const THEIRS = {
  ...{ about: "QEMU's e1000", mac: '02:00:00:82:54:99' },
  ...{ tap: 'guestB', guest: '10.82.2.1', host: '10.82.2.2' },
};
const CARDS = [OURS, THEIRS];
type Card = typeof OURS;
const MODEL = 'e1000';

export async function bench(): Promise<Result[]> {
  const why = obstacle();
  if (why !== null) throw new Error(`guest: ${why}`);
  const model = findModel(MODEL);
  const parts = await guestParts({ modules: [model.linux], progress: say }); // fetches, which a namespace of our own cannot
  if (!inside) process.exit(await reenter()); // prints for us
  const stop = new StopSignals();
  const { signal } = stop;
  const sockets = new SocketFolder();
  const ends: (() => Promise<unknown>)[] = []; // in their order: TAPs go before the namespaces, which would take them along
  try {
    say('booting');
    const socket = sockets.at('card');
    const network = await Network.open({
      cards: [{ model, socket, mac: macOf(OURS) }],
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
    for (const card of CARDS) await join(guest, card, ends, signal);
    return await measure(guest, signal);
  } catch (error) {
    if (stop.received === null) throw error;
    process.exitCode = stop.exitCode;
    return [];
  } finally {
    for (const end of ends) await end();
    sockets.remove();
    say('');
    stop.close();
  }
}

/** Brings the card's interfaces up at both ends, and a server here. */
async function join(guest: GuestSession, card: Card, ends: (() => Promise<unknown>)[], signal: AbortSignal) {
  const namespace = await settle(card.tap, card.tap, card.host);
  ends.push(() => namespace.close());
  const server = namespace.start('iperf3', ['--server']);
  ends.push(() => server.stop());
  await awaitIperf(namespace, signal);
  await sh(
    guest,
    `eth=$(grep -l ${card.mac} /sys/class/net/*/address | cut -d / -f 5)
     ip address add ${card.guest}/24 dev $eth && ip link set $eth up`,
  );
  await sh(guest, `for i in $(seq 50); do ping -q -c 1 -W 1 ${card.host} && exit; sleep 0.1; done; exit 1`);
}

function macOf({ mac }: Card): Uint8Array {
  return Uint8Array.from(mac.split(':'), (hex) => parseInt(hex, 16));
}

async function measure(guest: GuestSession, signal: AbortSignal): Promise<Result[]> {
  const rates = WAYS.map(() => CARDS.map((): number[] => []));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [w, way] of WAYS.entries()) {
      for (const [c, card] of CARDS.entries()) {
        say(`round ${round + 1} of ${ROUNDS}: ${way}, ${card.about}`);
        rates[w]![c]!.push(await iperf(guest, card, way));
        signal.throwIfAborted();
      }
    }
  }
  return WAYS.map((way, w) => {
    const [ours, theirs] = rates[w]!.map((several) => Math.round(median(several)));
    return result(`guest/${way}`, ours!, 'bit/s', theirs!);
  });
}

/** Bits a second; the first second, with TCP's slow start and code that is not compiled yet, does not count. */
async function iperf(guest: GuestSession, { host }: Card, way: (typeof WAYS)[number]): Promise<number> {
  const reverse = way === 'rx' ? '--reverse' : '';
  const said = await sh(guest, `iperf3 --client ${host} --time ${SECONDS} --omit 1 --json ${reverse}`);
  const { end } = JSON.parse(said) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second;
}

async function sh(guest: GuestSession, script: string): Promise<string> {
  const { exitCode, output } = await guest.run(script);
  if (exitCode !== 0) throw new Error(`guest: ${script}: ${output.split('\n').at(-1) || exitCode}`);
  return output;
}

/** What goes on, at a terminal; nothing takes it away. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text && `guest: ${text}`}`);
}
