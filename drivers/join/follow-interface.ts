/**
 * The interface is its user's, and the card follows it: MTU, address, promiscuity, up and down. What the card cannot do is
 * taken back at the interface, with the reason.
 */
import type { InterfaceSettings } from '../../native/index.ts';
import { DeviceError } from '../device.ts';
import type { NetDevice } from '../netdev.ts';
import { macText } from '../station-address.ts';

export interface FollowOptions {
  readonly device: NetDevice;
  /** How the interface is set now: native's `Interface` is one. */
  readonly read: () => InterfaceSettings;
  /** Gives the card an MTU, and whatever must have the same. DeviceError INVALID: it cannot be. */
  readonly setMtu: (mtu: number) => Promise<void>;
  /** Gives the interface back the MTU that the card has. */
  readonly putBackMtu: (mtu: number) => void;
  /** Hears what the card was told, and what was taken back: one line each. */
  readonly log: (line: string) => void;
  /** The interface was deleted, or the card failed; nothing is followed any more. */
  readonly failed: (error: unknown) => void;
}

export class InterfaceFollower {
  readonly #options: FollowOptions;
  /** The interface was up once: until then the card runs though it is down, for whoever makes it ready. */
  #wasUp = false;
  #running = true;
  #promiscuous = false;
  #name = '';
  #following = false;
  #again = false;
  #closed = false;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  /** The settings may have changed. What is still to be done of an earlier change is done first. */
  changed(): void {
    this.#again = true;
    if (!this.#following && !this.#closed) void this.#follow();
  }

  close(): void {
    this.#closed = true;
  }

  async #follow(): Promise<void> {
    this.#following = true;
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        await this.#apply(this.#options.read());
      }
    } catch (error) {
      if (!this.#closed) await this.#lost(error);
    }
    this.#following = false;
  }

  async #apply(settings: InterfaceSettings): Promise<void> {
    const { name, mac, up, mtu, promiscuity, master } = settings;
    if (name !== this.#name && this.#name !== '') this.#options.log(`${this.#name} is now called ${name}`);
    this.#name = name;
    await this.#setMac(mac);
    // A master's stations are behind the port, whether or not it says that it wants to hear for them.
    await this.#setPromiscuous(promiscuity > 0 || master !== 0);
    this.#wasUp ||= up;
    if (!up && this.#wasUp) await this.#run(false);
    await this.#setMtu(mtu);
    if (up) await this.#run(true);
  }

  async #setMac(mac: Uint8Array): Promise<void> {
    const { device, log } = this.#options;
    if (macText(mac) === macText(device.mac)) return;
    await device.setMac(mac);
    log(`${this.#name}: station address ${macText(mac)}`);
  }

  async #setPromiscuous(on: boolean): Promise<void> {
    if (on === this.#promiscuous) return;
    this.#promiscuous = on;
    await this.#options.device.setPromiscuous(on);
    this.#options.log(`${this.#name}: ${on ? 'promiscuous: frames to every station' : 'no longer promiscuous'}`);
  }

  async #setMtu(mtu: number): Promise<void> {
    const { device, setMtu, putBackMtu, log } = this.#options;
    if (mtu === device.mtu) return;
    try {
      await setMtu(mtu);
      log(`${this.#name}: MTU ${mtu}`);
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== 'INVALID') throw error;
      if (this.#closed) return;
      putBackMtu(device.mtu);
      log(`${this.#name}: MTU back to ${device.mtu}: ${error.message}`);
    }
  }

  /** As for any card of the kernel's: an interface that is down has no link. */
  async #run(on: boolean): Promise<void> {
    if (on === this.#running || this.#closed) return;
    this.#running = on;
    const { device, log } = this.#options;
    log(`${this.#name}: ${on ? 'up: the card is started' : 'down: the card is stopped'}`);
    await (on ? device.start() : device.stop());
  }

  /** Where this process may not follow, the card hears everything, whatever the interface's address will be. */
  async #lost(error: unknown): Promise<void> {
    const { log, failed } = this.#options;
    try {
      if ((error as { code?: unknown }).code !== 'EPERM') throw error;
      this.#closed = true;
      await this.#setPromiscuous(true);
      if (!this.#running) await this.#options.device.start();
      log(`${this.#name}: its settings are followed no longer: ${(error as Error).message}`);
    } catch (reason) {
      this.#closed = true;
      failed(reason);
    }
  }
}
