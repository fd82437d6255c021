/** iperf3's TCP between a guest and this machine: what the benchmarks with a guest share. */
import { awaitIperf, settle } from '../../scripts/rig/kernel-traffic.ts';
import { inside, obstacle, reenter } from '../../scripts/rig/reenter.ts';
import { SocketFolder } from '../../scripts/rig/socket-folder.ts';
import { StopSignals } from '../../scripts/stop-signals.ts';
import type { GuestSession } from '../../vm/guest.ts';
import { type GuestParts, guestParts } from '../../vm/parts.ts';
import { median, type Result, result } from './result.ts';

const ROUNDS = 3;
const SECONDS = 4;
const WAYS = ['tx', 'rx'] as const; // as the guest sees it
type Way = (typeof WAYS)[number];

/** Both ends' addresses in a network of their own, and the TAP of the one that is here. */
export interface Subnet {
  readonly tap: string;
  readonly guest: string;
  readonly host: string;
}

/** What is compared: the benchmark's subject, or its yardstick. */
export interface Contender {
  readonly about: string;
  readonly subnet: Subnet;
  /** Seconds of traffic each way that do not count, after `ready`: what has just been started compiles as it goes. */
  readonly warmUp: number;
  /** Has its interface up and the other end within reach. Rounds alternate, so that it is asked for again and again. */
  ready(): Promise<void>;
}

export interface BenchContext {
  readonly parts: GuestParts;
  readonly sockets: SocketFolder;
  readonly signal: AbortSignal;
  /** Called at the end in their order, however it comes: TAPs go before the namespaces, which would take them along. */
  readonly ends: (() => Promise<unknown>)[];
  readonly say: (text: string) => void;
}

/** In a namespace of its own, with the guest's parts at hand; cleans up behind the body. */
export async function guestBench(
  name: string,
  modules: readonly string[],
  body: (context: BenchContext) => Promise<Result[]>,
): Promise<Result[]> {
  const why = obstacle();
  if (why !== null) throw new Error(`${name}: ${why}`);
  // What goes on, at a terminal; nothing takes it away.
  const say = (text: string) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text && `${name}: ${text}`}`);
  };
  const parts = await guestParts({ modules, progress: say }); // fetches, which a namespace of our own cannot
  if (!inside) process.exit(await reenter()); // prints for us
  const stop = new StopSignals();
  const sockets = new SocketFolder();
  const ends: BenchContext['ends'] = [];
  try {
    return await body({ parts, sockets, signal: stop.signal, ends, say });
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

/** Puts the TAP into a namespace with its address, and a server there. */
export async function serveIperf({ tap, host }: Subnet, { ends, signal }: BenchContext): Promise<void> {
  const namespace = await settle(tap, tap, host);
  ends.push(() => namespace.close());
  const server = namespace.start('iperf3', ['--server']);
  ends.push(() => server.stop());
  await awaitIperf(namespace, signal);
}

/** For the guest: gives the interface in $eth its address, and waits until the other end answers. */
export function join({ guest, host }: Subnet): string {
  return `ip address add ${guest}/24 dev $eth && ip link set $eth up
for i in $(seq 100); do ping -q -c 1 -W 1 ${host} > /dev/null && exit; sleep 0.1; done; echo "no way to ${host}"; exit 1`;
}

/** Rounds both ways, by turns; the first contender against the second. */
export async function compare(
  name: string,
  guest: GuestSession,
  contenders: readonly [Contender, Contender],
  { say, signal }: BenchContext,
): Promise<Result[]> {
  const rates = WAYS.map(() => contenders.map((): number[] => []));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [c, contender] of contenders.entries()) {
      await contender.ready();
      for (const way of contender.warmUp > 0 ? WAYS : []) await iperf(guest, contender.subnet, way, contender.warmUp);
      for (const [w, way] of WAYS.entries()) {
        say(`round ${round + 1} of ${ROUNDS}: ${way}, ${contender.about}`);
        rates[w]![c]!.push(await iperf(guest, contender.subnet, way, SECONDS));
        signal.throwIfAborted();
      }
    }
  }
  return WAYS.map((way, w) => {
    const [ours, theirs] = rates[w]!.map((several) => Math.round(median(several)));
    return result(`${name}/${way}`, ours!, 'bit/s', theirs!);
  });
}

/** Bits a second; the first second, with TCP's slow start, does not count. */
async function iperf(guest: GuestSession, { host }: Subnet, way: Way, seconds: number): Promise<number> {
  const reverse = way === 'rx' ? '--reverse' : '';
  const said = await sh(guest, `iperf3 --client ${host} --time ${seconds} --omit 1 --json ${reverse}`);
  const { end } = JSON.parse(said) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second;
}

/** What the script printed; throws with its last line where it fails. */
export async function sh(guest: GuestSession, script: string): Promise<string> {
  const { exitCode, output } = await guest.run(script);
  if (exitCode !== 0) throw new Error(`in the guest: ${output.split('\n').at(-1) || `${script}: ${exitCode}`}`);
  return output;
}
