/** The tools that make the kernel's network stack send, each in its namespace. */
import { Failure } from '../errors.ts';
import { Namespace } from './namespaces.ts';

const PINGS = 20;

export interface Ping {
  readonly sent: number;
  readonly received: number;
  /** Milliseconds. */
  readonly rtt: { readonly min: number; readonly avg: number; readonly max: number };
}

export interface Tcp {
  readonly bitsPerSecond: number;
  readonly retransmits: number;
}

/** A namespace of its own for a TAP, and an address. */
export async function settle(name: string, tap: string, address: string): Promise<Namespace> {
  const namespace = await Namespace.open(name);
  await namespace.take(tap);
  await namespace.run('ip', ['address', 'add', `${address}/24`, 'dev', tap]);
  await namespace.run('ip', ['link', 'set', tap, 'up']);
  return namespace;
}

export async function ping(from: Namespace, to: string, signal: AbortSignal): Promise<Ping> {
  const args = ['-n', '-q', '-c', String(PINGS), '-i', '0.05', '-w', '10', to];
  const text = await from.run('ping', args, signal);
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
  const [, min, avg, max] = /= ([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(text) ?? [];
  if (max === undefined) throw new Failure(`ping printed nothing that can be read: ${text}`);
  return {
    sent: Number(sent),
    received: Number(received),
    rtt: { min: Number(min), avg: Number(avg), max: Number(max) },
  };
}

/** Waits until the server listens. iperf3 does not say so; the kernel does. */
export async function awaitIperf(where: Namespace, signal: AbortSignal): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const sockets = await where.run('cat', ['/proc/net/tcp', '/proc/net/tcp6'], signal);
    if (/:1451 \S+ 0A /.test(sockets)) return; // port 5201, LISTEN
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Failure('iperf3 does not listen');
}

interface IperfOptions {
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** The server sends. */
  readonly reverse?: boolean;
  /** Seconds in front that do not count: TCP's slow start, and code that is not compiled yet. */
  readonly omit?: number;
}

export async function iperf(from: Namespace, to: string, options: IperfOptions): Promise<Tcp> {
  const { seconds, signal, reverse, omit = 0 } = options;
  const args = ['--client', to, '--time', String(seconds), '--omit', String(omit), '--json'];
  if (reverse) args.push('--reverse');
  const { end } = JSON.parse(await from.run('iperf3', args, signal)) as {
    end: { sum_received: { bits_per_second: number }; sum_sent: { retransmits?: number } };
  };
  return { bitsPerSecond: end.sum_received.bits_per_second, retransmits: end.sum_sent.retransmits ?? 0 };
}
