import { type Command, Option } from 'commander';
import { IMIX, LEAST_FRAME } from '../../drivers/join/generator.ts';
import { FEATURE_TSO4, FEATURE_TSO6 } from '../../drivers/netdev.ts';
import { FRAME_BUFFER, HEADROOM } from '../../drivers/packet.ts';
import { DRIVEN, drivenFamilyOf, EXAMPLE, findTarget, type WiredTarget } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import { destination, features, frameSizes, macAddress, OPTIONS, rate, whole } from '../options.ts';
import { checkRings } from '../rig/card.ts';
import { type DriveOptions, isQuiet, Run } from '../rig/drive-run.ts';
import { bringUpLines, DriverLog } from '../rig/driver-log.ts';
import { checkFiles } from '../rig/report.ts';
import { Rig, type Setup } from '../rig/rig.ts';
import { ROLES, type RoleKind } from '../rig/roles.ts';
import { KEYS } from '../rig/session.ts';
import { OutsideRig } from '../rig/target.ts';
import { StopSignals } from '../stop-signals.ts';

/** What the other end does, unless told. */
const PEERS: Record<string, RoleKind> = { tap: 'echo', echo: 'generate', generate: 'echo' };

const LONGEST_MTU = 16110; // of all that are driven
const ring = whole(1, 65_536); // a driver's own bounds are checked once it is known
const ringBounds = DRIVEN.map(({ name, driver: { rings } }) => `${name} ${rings.least} to ${rings.most}`).join(', ');

const AFTER = `
At the other end of the wire of sim:MODEL and qemu:DEVICE there is a model with its own driver. Unless --peer says otherwise,
  with --tap       it answers pings, for whatever address
  with --generate  it sends back what it gets, so that loss and round-trip times are measured
  with --echo      it generates (with --rate, --size, --count)

A device that another process serves (vfio-user:PATH) has its own wire, of which nothing is known here: --peer, --pcap,
--trace and --wire are the server's (see fauxnic serve).

At a terminal single keys work while it runs:
${KEYS.map(([key, what]) => `  ${key}  ${what}`).join('\n')}
A terminal that goes ends the run as SIGTERM does. With --json, and where input or output is no terminal, there are none.

Examples:
  fauxnic drive sim:${EXAMPLE.model} --generate --seconds 5
  fauxnic drive qemu:${EXAMPLE.driven} --generate --seconds 5
  fauxnic drive vfio-user:/tmp/nic0 --echo
  fauxnic drive pci:0000:03:00.0 --generate --to 02:00:00:00:00:01
  fauxnic drive sim:${EXAMPLE.model} --tap=nic0            (as root; then: ip addr add 10.0.0.1/24 dev nic0; ping 10.0.0.2)
  fauxnic drive sim:${EXAMPLE.model} --generate --count 100 --trace - | less
  fauxnic drive sim:${EXAMPLE.model} --generate --rate 10k --wire latency=2ms,loss=1% --pcap lossy.pcapng`;

export function addDrive(program: Command): void {
  program
    .command('drive')
    .summary('run the user-space driver on a device')
    .description(
      'Runs the user-space driver on a device and joins its frames to a TAP interface, an echo or a generator.',
    )
    .argument('<target>', 'the device: sim:MODEL, qemu:DEVICE, vfio-user:PATH or pci:ADDRESS (see fauxnic devices)')
    .option('--tap [name]', 'join it to a TAP interface, by this name or the next free fauxnicN (needs root)')
    .option('--echo', 'answer ARP, pings and UDP, fragmented or not')
    .option('--generate', 'send UDP frames, and judge those that come back')
    .addOption(new Option('--peer <role>', 'what the other end of the wire does').choices(ROLES))
    .option('--peer-tap <name>', 'the name of the TAP with --peer tap')
    .addOption(new Option('--rate <rate>', 'generated: 100k (packets/s), 1Gbit, or max').argParser(rate))
    .addOption(new Option('--size <bytes>', 'generated: 64, 64-1514 or imix; without FCS').argParser(frameSizes))
    .addOption(new Option('--count <n>', 'generated: stop after so many').argParser(whole(1, Number.MAX_SAFE_INTEGER)))
    .addOption(
      new Option('--to <address>', "generated: to this address (default: the other card's, or broadcast)").argParser(
        destination,
      ),
    )
    .addOption(OPTIONS.seconds())
    .addOption(new Option('--mac <address>', "the card's own address, in its EEPROM").argParser(macAddress))
    .addOption(new Option('--mtu <bytes>', 'both cards: 68 to 16110').argParser(whole(68, LONGEST_MTU)))
    .addOption(new Option('--rx-ring <n>', `receive descriptors, a multiple of 8: ${ringBounds}`).argParser(ring))
    .addOption(new Option('--tx-ring <n>', 'transmit descriptors: likewise').argParser(ring))
    .addOption(
      new Option('--features <list>', 'offloads to enable: all, none, or tx-checksum,tso4,…').argParser(features),
    )
    .option('--no-tso', 'no segmentation offload')
    .option('--no-gro', 'no coalescing of what goes to the TAP')
    .addOption(OPTIONS.wire())
    .addOption(OPTIONS.pcap())
    .addOption(OPTIONS.trace())
    .addOption(OPTIONS.json())
    .addOption(OPTIONS.seed())
    .addHelpText('after', AFTER)
    .action(drive);
}

async function drive(target: string, options: DriveOptions): Promise<void> {
  const what = findTarget(target);
  const near = roleOf(options);
  if (what.model === null) checkOutside(target, options);
  else checkRings(drivenFamilyOf(what.model), cardOptions(options));
  if (what.model !== null && what.qemu !== undefined && options.trace !== undefined)
    throw new UsageError(`--trace is for models (sim:MODEL): what ${target} does inside is QEMU's`);
  const far = what.model === null ? 'none' : (options.peer ?? PEERS[near]!);
  check(options, near, far);
  const stop = new StopSignals();
  const log = new DriverLog(isQuiet(options) ? () => {} : bringUpLines());
  const rig =
    what.model === null
      ? await OutsideRig.open(what.backend, what.address, { ...nearOptions(options), log: log.add })
      : await openRig(what, options, far, log);
  let run: Run | undefined;
  try {
    run = new Run(rig, options, near, far, log);
    await run.until(stop.signal);
  } finally {
    run?.stop();
    await rig.close();
    stop.close();
  }
  run.report();
  checkFiles(rig);
  // Ctrl-C is how a run without end ends; else it is an interruption.
  const endless = options.seconds === undefined && options.count === undefined;
  process.exitCode = endless && stop.received === 'SIGINT' ? 0 : stop.exitCode;
}

function openRig(target: WiredTarget, options: DriveOptions, far: RoleKind, log: DriverLog): Promise<Setup> {
  return Rig.open({
    ...target,
    near: { ...nearOptions(options), log: log.add },
    // The echo answers whatever the interface is set to send; it knows packets of one piece.
    far: far === 'none' ? null : { ...cardOptions(options), ...(options.tap && { longestMtu: LONGEST_MTU }) },
    wire: { ...options.wire, seed: options.seed },
    pcap: options.pcap,
    trace: options.trace,
    progress: (line) => console.error(line),
  });
}

/** What takes a hand in the wire, or in the model. */
function checkOutside(target: string, options: DriveOptions): void {
  for (const name of ['peer', 'pcap', 'trace', 'wire'] as const) {
    if (options[name] === undefined) continue;
    throw new UsageError(`--${name} is for models in this process (sim:MODEL): the wire of ${target} is not here`);
  }
}

function roleOf({ tap, echo, generate }: DriveOptions): 'tap' | 'echo' | 'generate' {
  const given = Object.entries({ tap, echo, generate }).filter(([, value]) => value !== undefined);
  if (given.length === 0) throw new UsageError('nothing to do: give one of --tap, --echo and --generate');
  if (given.length > 1) throw new UsageError(`give one of --tap, --echo and --generate, not ${given.length}`);
  return given[0]![0] as 'tap' | 'echo' | 'generate';
}

function check(options: DriveOptions, near: RoleKind, far: RoleKind): void {
  const generates = near === 'generate' || far === 'generate';
  for (const name of ['rate', 'size', 'count', 'to'] as const)
    if (options[name] !== undefined && !generates)
      throw new UsageError(`--${name} is for generated frames: give --generate, or --peer generate`);
  if (options.peerTap !== undefined && far !== 'tap') throw new UsageError('--peer-tap is for --peer tap: give both');
  if (options.trace === '-' && options.json) throw new UsageError('--trace - and --json both want standard output');
  const most = Math.min((options.mtu ?? 1500) + 14, FRAME_BUFFER - HEADROOM);
  const longest = Math.max(...(options.size ?? [LEAST_FRAME]));
  if (longest > most && options.size !== IMIX)
    throw new UsageError(
      `frames of ${longest} bytes: at most ${most} are generated at an MTU of ${options.mtu ?? 1500}`,
    );
}

function nearOptions(options: DriveOptions) {
  return { ...cardOptions(options), mac: options.mac };
}

function cardOptions({ mtu, rxRing, txRing, features, tso }: DriveOptions) {
  const all = features ?? 0xffffffff;
  const wanted = tso ? all : all & ~(FEATURE_TSO4 | FEATURE_TSO6);
  return { mtu, rxDescriptors: rxRing, txDescriptors: txRing, features: wanted >>> 0 };
}
