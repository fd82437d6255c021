/** Where a card is tried: a guest with Linux's own driver for it, a peer that is not ours, and the wire between the two. */
import { createHash } from 'node:crypto';
import { CAP_MSI_X, CAPABILITIES } from '../../sim/pci/config.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import { type Answer, GuestSession, type SessionOptions, type Sitting } from '../../vm/guest.ts';
import type { GuestMachine } from '../../vm/guest-machine.ts';
import { Machine, type Nic } from '../../vm/machine.ts';
import { UmlMachine, type UmlOptions } from '../../vm/uml/machine.ts';
import { linuxDriverOf } from '../catalogue.ts';
import type { Model } from '../families/family.ts';
import type { LinuxDriver } from '../families/linux-driver.ts';
import { Network } from '../rig/network.ts';
import { SocketFolder } from '../rig/socket-folder.ts';
import { Wire } from './wire.ts';

/** The card under test: a model of ours, or the one of QEMU's by that name that is like it. */
export type Subject =
  | { readonly kind: 'sim'; readonly model: Model }
  | { readonly kind: 'qemu'; readonly device: string; readonly model: Model };

/** A test's verdict: what was found instead. */
export class Fault extends Error {}

export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Fault(otherwise);
}

/** In the guest the peer's interface has a network namespace of its own, so that what passes passes over the wire. */
export const PEER = 'ip netns exec peer';
export const CARD_ADDRESS = '10.9.0.1';
export const PEER_ADDRESS = '10.9.0.2';

/** For every script, from a file there: a shell reads what it is told byte by byte. */
const LIBRARY = `
# until SECONDS COMMAND…: tries until it succeeds
until_ok() { n=$(($1 * 10)); shift; while ! "$@" > /dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.1; done; }
carrier() { read now < /sys/class/net/eth0/carrier && [ "$now" = "$1" ]; }
bring_up() { ip link set eth0 up && until_ok 20 carrier 1; }
address() { ip address replace ${CARD_ADDRESS}/24 dev eth0; }
mtu() { ip link set eth0 mtu $1 && ip -n peer link set eth1 mtu $1; }
# ping waits no longer than twice a round trip for its last answer: on a busy machine that is no verdict
pings() { for try in 1 2 3; do said=$(ping -q "$@"); case "$said" in *" 0% packet loss"*) break;; esac; done; echo "$said"; }
reachable() { until_ok 10 ping -q -c 1 -W 1 ${PEER_ADDRESS}; }
`;

/** Takes the driver from its card and gives it back: as a module, or where it is built in. */
const RELOAD_MODULE = `
reload() { modprobe -r $1 && modprobe $1 && until_ok 10 test -e /sys/class/net/eth0; }
`;
const REBIND = `
reload() { card=$(basename $(readlink /sys/class/net/eth0/device)); cd /sys/bus/pci/drivers/$1
  echo $card > unbind && echo $card > bind && cd / && until_ok 10 test -e /sys/class/net/eth0; }
`;

/** Built in, virtio's driver comes before those of cards: its card is eth0 then. */
const PEER_IS_ETH1 = `
case $(readlink /sys/class/net/eth0/device/driver) in */virtio_net) ip -batch - <<. ;; esac
link set eth0 name peer
link set eth1 name eth0
link set peer name eth1
.
`;

const LIBRARY_FILE = '/run/library';

/** IPv6 is off so that no frames turn up that no test caused. How long an emulated processor takes is no lockup. */
const SETUP = `
echo 60 > /proc/sys/kernel/watchdog_thresh || true
echo 300 > /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout || true
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip netns add peer && ip link set eth1 netns peer
${PEER} sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'
ip -n peer link set lo up
ip -n peer link set eth1 up
ip -n peer address add ${PEER_ADDRESS}/24 dev eth1
`;

/** The interface as every test finds it. */
const FRESH = `
ip -n peer link set eth1 mtu 1500
ethtool -K eth0 rx on tx on sg on tso on gso on gro on rxvlan on txvlan on 2> /dev/null
ip -batch - <<. && until_ok 20 carrier 1 && reachable
link set eth0 mtu 1500 promisc off allmulticast off
link set eth0 up
address replace ${CARD_ADDRESS}/24 dev eth0
.
`;

/** Milliseconds that booting may take, on a machine that has much else to do. */
const PATIENCE = 180_000;
const DATA_BYTES = 1 << 20;
/** Where each side hands out the data. */
export const PORT = 9000;
const PEER_DEVICE = 'virtio-net-pci';
const [CARD_MAC, PEER_MAC] = ['02:00:00:82:54:01', '02:00:00:82:54:99'];
/** The modules that a bed needs after the driver under test, whose card is eth0. */
export const BED_MODULES = ['virtio_pci', 'virtio_net', '8021q'];

type InQemu = Omit<SessionOptions, 'nics' | 'restarts'> & { readonly subject: Subject };
/** Linux as a process, in virtual time. */
type AsProcess = Omit<UmlOptions, 'surroundings' | 'devices'> &
  Sitting & { readonly subject: Extract<Subject, { kind: 'sim' }>; readonly uml: true };
export type BedOptions = (InQemu & { readonly uml?: undefined }) | AsProcess;

export class Bed {
  readonly subject: Subject;
  readonly linux: LinuxDriver;
  readonly wire: Wire;
  /** Of the file that `transfer` moves. */
  readonly digest: string;
  readonly #boot: () => Promise<GuestSession<GuestMachine>>;
  #guest: GuestSession<GuestMachine>;
  readonly #network: Network;
  readonly #sockets: SocketFolder;
  readonly #data: Buffer;

  private constructor(
    subject: Subject,
    boot: () => Promise<GuestSession<GuestMachine>>,
    guest: GuestSession<GuestMachine>,
    network: Network,
    sockets: SocketFolder,
  ) {
    this.subject = subject;
    this.linux = linuxDriverOf(subject.model);
    this.#boot = boot;
    this.#guest = guest;
    this.#network = network;
    this.#sockets = sockets;
    const port = subject.kind === 'sim' ? network.boards[0]!.ports[0]! : network.ports[0]!;
    this.wire = new Wire(port, network.ports.at(-1)!, network.pump);
    this.#data = createHash('shake256', { outputLength: 1024 }).update('data').digest();
    this.digest = createHash('md5')
      .update(Buffer.concat(Array(DATA_BYTES / 1024).fill(this.#data)))
      .digest('hex');
  }

  static async open(options: BedOptions): Promise<Bed> {
    const { subject, uml } = options;
    const sockets = new SocketFolder();
    const [card, peer] = [sockets.at('card'), sockets.at('peer')];
    const ours = subject.kind === 'sim' ? [{ model: subject.model, socket: card }] : [];
    const network = await Network.open(
      uml
        ? { cards: ours, virtio: [peer], uml: 'virtual' }
        : { cards: ours, streams: subject.kind === 'sim' ? [peer] : [card, peer] },
    );
    try {
      const boot = uml
        ? () => bootProcess(options, network)
        : () =>
            GuestSession.open({ patience: PATIENCE, ...options, nics: nicsOf(subject, card, peer), restarts: true });
      const bed = new Bed(subject, boot, await boot(), network, sockets);
      await bed.setUp();
      return bed;
    } catch (error) {
      await network.close();
      sockets.remove();
      throw error;
    }
  }

  get guest(): GuestSession<GuestMachine> {
    return this.#guest;
  }

  /** Seconds that have passed on the wire. */
  get now(): number {
    return this.#network.now / 1e9;
  }

  /** Whether Linux is a process, in virtual time. */
  get virtual(): boolean {
    return this.#network.surroundings !== null;
  }

  /** Lets so many milliseconds pass, in whatever time the guest lives. */
  async pause(milliseconds: number): Promise<void> {
    const calendar = this.#network.surroundings?.calendar;
    if (calendar) await calendar.pass(milliseconds * 1e6);
    else await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  /** After every start of the guest. */
  async setUp(): Promise<void> {
    const lines = this.#data.toString('base64');
    const doublings = Math.log2(DATA_BYTES / 1024); // an emulated processor starts few programs in a second
    const data = `cp /run/kilobyte /run/data
for i in $(seq ${doublings}); do cat /run/data /run/data > /run/twice && mv /run/twice /run/data; done`;
    const source = `httpd -p ${PORT} -h /run`;
    const library = LIBRARY + (this.virtual ? REBIND : RELOAD_MODULE);
    await this.guest.run(`cat > ${LIBRARY_FILE} <<'LIBRARY'\n${library}\nLIBRARY`);
    await this.sh(
      `${this.virtual ? PEER_IS_ETH1 : ''}${SETUP}\necho ${lines} | base64 -d > /run/kilobyte\n${data}\n${source}\n${PEER} ${source}`,
    );
  }

  /** Runs a script in the guest and returns what it printed; where it fails so does the test, with what it printed. */
  async sh(script: string, limit?: number): Promise<string> {
    const { exitCode, output } = await this.try(script, limit);
    expect(exitCode === 0, `${lastLine(script)}: ${exitCode === 137 ? 'took too long' : lastLine(output) || exitCode}`);
    return output;
  }

  /** Where a failure is an answer too. */
  try(script: string, limit?: number): Promise<Answer> {
    return this.guest.run(`. ${LIBRARY_FILE}\n${script}`, limit);
  }

  /** The interface as every test wants it: up, addressed, the peer within reach. */
  async fresh(): Promise<void> {
    await this.sh(FRESH);
  }

  /** Pulls the cable out, or plugs it in. */
  async cable(connected: boolean): Promise<void> {
    const { machine } = this.guest;
    if (machine instanceof Machine && this.subject.kind === 'qemu')
      await machine.qmp.execute('set_link', { name: 'nic0', up: connected });
    else if (connected) this.#network.link!.connect();
    else this.#network.link!.disconnect();
  }

  /** Whether the driver may have messages, MSI or MSI-X, instead of INTx. It is loaded anew. */
  async allowMessages(allowed: boolean): Promise<void> {
    await this.sh(`echo ${Number(allowed)} > /sys/class/net/eth0/device/msi_bus; reload ${this.linux.module}`);
    await this.fresh();
  }

  /**
   * Another guest in place of this one, on the same card without its MSI-X, for good: Linux has no switch against MSI-X
   * alone, and QEMU looks for it only when it connects.
   */
  async guestWithoutMsix(): Promise<void> {
    await this.#guest.close();
    hideMsix(this.#network.boards[0]!.functions[0]!);
    this.#guest = await this.#boot();
    await this.setUp();
    await this.fresh();
  }

  /** Moves a megabyte over TCP and compares it. */
  async transfer(direction: 'out' | 'in'): Promise<void> {
    const [to, address] = direction === 'out' ? [PEER, CARD_ADDRESS] : ['', PEER_ADDRESS];
    const got = await this.sh(`${to} wget -q -O - http://${address}:${PORT}/data | md5sum`);
    expect(got.startsWith(this.digest), `what arrived of a megabyte ${direction} differs: ${lastLine(got)}`);
  }

  async close(): Promise<void> {
    this.wire.remove();
    await this.#guest.close();
    await this.#network.close();
    this.#sockets.remove();
  }
}

function nicsOf(subject: Subject, card: string, peer: string): Nic[] {
  return [
    subject.kind === 'sim'
      ? { kind: 'vfio-user', socket: card }
      : { kind: 'qemu', device: subject.device, netdev: stream(card), mac: CARD_MAC },
    { kind: 'qemu', device: PEER_DEVICE, netdev: stream(peer), mac: PEER_MAC },
  ];
}

async function bootProcess(options: AsProcess, { surroundings, plugged }: Network): Promise<GuestSession<UmlMachine>> {
  return await GuestSession.openIn((all: UmlOptions, initramfs) => new UmlMachine(all, initramfs), {
    ...{ patience: PATIENCE, ...options },
    ...{ surroundings: surroundings!, devices: plugged },
  });
}

/** Takes MSI-X out of the list of capabilities (PCI Local Bus Specification 3.0, 6.7). */
function hideMsix({ config }: PciFunction): void {
  let link = CAPABILITIES;
  for (let at = config.peek(link, 1); at !== 0; at = config.peek(link, 1)) {
    if (config.peek(at, 1) === CAP_MSI_X) config.poke(link, 1, config.peek(at + 1, 1));
    else link = at + 1;
  }
}

const stream = (path: string) => `stream,server=off,addr.type=unix,addr.path=${path}`;

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)!.trim();
}
