import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ExportedQemu } from '../../vm/export.ts';
import type { ServerCounters } from '../../vm/vfio-user/server.ts';
import { EXAMPLE, findModel } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../families/family.ts';
import { macAddress, OPTIONS } from '../options.ts';
import { Network } from '../rig/network.ts';
import { checkFiles } from '../rig/report.ts';
import { StopSignals } from '../stop-signals.ts';
import { labelled } from '../terminal/print.ts';

interface ServeOptions {
  readonly socket: string;
  readonly peer: { readonly kind: 'tap' | 'echo' | 'stream' | 'none'; readonly name?: string };
  readonly mac?: Uint8Array;
  readonly pcap?: string;
  readonly trace?: string;
  readonly json?: true;
}

const QEMU = 'qemu:';

const AFTER = `
At the other end of the card's wire there is a second card with the user-space driver, which --peer joins to something;
or, with stream=PATH, whoever connects to that socket and speaks as QEMU's -netdev stream does.
One client at a time; the next one waits until the present one has gone. The card is reset in between.
A board of several functions listens for clients of function 1 at PATH.1, of function 2 at PATH.2, and so on.

Examples:
  fauxnic serve ${EXAMPLE.model} --socket /tmp/nic0 --peer echo
  fauxnic serve ${EXAMPLE.model} --socket /tmp/nic0 --peer tap=nic0 --pcap guest.pcapng       (as root)
  fauxnic serve ${EXAMPLE.model} --socket /tmp/nic0 --peer stream=/tmp/wire0
  fauxnic serve qemu:${EXAMPLE.driven} --socket /tmp/nic0 --peer echo`;

export function addServe(program: Command): void {
  program
    .command('serve')
    .summary("offer a model, or QEMU's own device, over vfio-user, for a guest")
    .description(
      'Offers a model, or a device that QEMU emulates, over a UNIX socket, to whoever speaks vfio-user: QEMU 10.1 and ' +
        'newer, for one.',
    )
    .argument('<card>', "a model (see fauxnic devices), or qemu:DEVICE: any of QEMU's PCI network cards but virtio's")
    .requiredOption('--socket <path>', 'where to listen; only you may connect')
    .addOption(
      new Option('--peer <role>', 'the other end of the wire: tap, tap=NAME, echo, stream=PATH or none')
        .argParser(peer)
        .default({ kind: 'none' }, 'none'),
    )
    .addOption(new Option('--mac <address>', "the card's own address, in its EEPROM").argParser(macAddress))
    .addOption(OPTIONS.pcap())
    .addOption(OPTIONS.trace())
    .addOption(OPTIONS.json())
    .addHelpText('after', AFTER)
    .action(run);
}

function peer(text: string): ServeOptions['peer'] {
  const [kind, ...rest] = text.split('=');
  const name = rest.length === 0 ? undefined : rest.join('=');
  if (kind === 'tap' && name !== '') return { kind, name };
  if (kind === 'stream' && name) return { kind, name };
  if ((kind === 'echo' || kind === 'none') && name === undefined) return { kind };
  throw new InvalidArgumentError('Give tap, tap=NAME, echo, stream=PATH or none.');
}

async function run(name: string, options: ServeOptions): Promise<void> {
  const what = offered(name);
  const { socket, peer, mac, pcap, trace, json } = options;
  if (trace === '-' && json) throw new UsageError('--trace - and --json both want standard output');
  if (trace !== undefined && 'qemu' in what) throw new UsageError(`--trace is for models: ${name} is QEMU's own`);
  const quiet = json === true || trace === '-';
  const stop = new StopSignals();
  let failed: (error: unknown) => void = () => {};
  const ended = new Promise<void>((resolve, reject) => {
    failed = reject;
    stop.signal.addEventListener('abort', () => resolve());
    if (stop.signal.aborted) resolve();
  });
  ended.catch(() => {}); // it may fail before anybody waits
  const say = (label: string, text: string) => {
    if (!quiet) console.log(labelled(label, text));
  };
  const note = (text: string) => say('client', text);
  const started = performance.now();
  const card = { ...what, socket, mac };
  const network = await Network.open({
    cards: [card],
    streams: peer.kind === 'stream' ? [peer.name!] : [],
    peer: peer.kind === 'tap' || peer.kind === 'echo' ? { kind: peer.kind, name: peer.name } : undefined,
    pcap,
    trace,
    note,
    log: (line) => (quiet ? console.error(line) : say('interface', line)),
    failed,
    progress: (line) => void process.stderr.write(`${line}\n`),
  });
  try {
    say('card', `${about(what)}, ${Network.nameOf(card, 0)}`);
    const sockets = 'model' in what ? network.socketsOf(socket) : [socket];
    for (const path of sockets) say('socket', path);
    say('peer', peer.kind === 'stream' ? 'whoever connects to the stream' : network.peer.about);
    say('try', qemu(sockets.map((path) => resolve(path))));
    await ended;
  } finally {
    await network.close();
    stop.close();
  }
  const counters = sum([...network.servers, ...network.qemus].map((server) => ({ ...server.counters })));
  if (json) console.log(JSON.stringify({ seconds: (performance.now() - started) / 1000, ...counters }));
  else say('served', servedText(counters));
  checkFiles(network);
  process.exitCode = stop.received === 'SIGINT' ? 0 : stop.exitCode; // it has no end of its own
}

/** A QEMU that serves by itself counts no requests. */
function servedText(counters: ServerCounters | ExportedQemu['counters']): string {
  const requests = 'requests' in counters ? `, ${counters.requests} requests, ${counters.refused} refused` : '';
  return `${counters.clients} ${counters.clients === 1 ? 'client' : 'clients'}${requests}`;
}

/** A model, or a device of QEMU's. */
type Offered = { readonly model: Model } | { readonly qemu: string };

function offered(name: string): Offered {
  if (!name.startsWith(QEMU)) return { model: findModel(name) };
  if (name === QEMU) throw new UsageError(`${name} lacks a device: give qemu:${EXAMPLE.driven}, as QEMU calls it`);
  return { qemu: name.slice(QEMU.length) };
}

function about(what: Offered): string {
  return 'model' in what ? `${what.model.chip} (${what.model.id})` : `QEMU's ${what.qemu}`;
}

/** Of all the functions. */
function sum<Counters extends Record<string, number>>(all: readonly Counters[]): Counters {
  const names = Object.keys(all[0]!) as (keyof Counters)[];
  return Object.fromEntries(names.map((name) => [name, all.reduce((total, it) => total + it[name]!, 0)])) as Counters;
}

/** What a person types to have the card in a guest: its functions in one slot. */
function qemu(paths: readonly string[]): string {
  const devices = paths.map((path, number) => {
    const place = paths.length === 1 ? {} : { addr: `8.${number}`, multifunction: number === 0 };
    return `-device '${JSON.stringify({ driver: 'vfio-user-pci', ...place, socket: { type: 'unix', path } })}'`;
  });
  return (
    'qemu-system-x86_64 -M q35,memory-backend=m0 -object memory-backend-memfd,id=m0,size=512M,share=on -m 512M ' +
    `${devices.join(' ')} …`
  );
}
