import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { DeviceError } from '../../../drivers/device.ts';
import { InterfaceFollower } from '../../../drivers/join/follow-interface.ts';
import type { InterfaceSettings } from '../../../native/index.ts';
import { FakeNetDevice } from '../../util/fake-netdev.ts';

/** A card that keeps what it was told, and an interface that a test sets. */
function bench() {
  const told: string[] = [];
  const log: string[] = [];
  const errors: unknown[] = [];
  const device = new FakeNetDevice();
  device.setPromiscuous = async (on) => void told.push(`promiscuous ${on}`);
  device.setMac = async (mac) => {
    device.mac.set(mac);
    told.push(`address …${mac[5]}`);
  };
  device.start = async () => void told.push('start');
  device.stop = async () => void told.push('stop');
  const mac = device.mac.slice();
  let settings: InterfaceSettings = { name: 'nic0', up: false, mtu: 1500, mac, promiscuity: 0, master: 0 };
  let error: Error | null = null;
  const follower = new InterfaceFollower({
    device,
    read() {
      if (error) throw error;
      return settings;
    },
    async setMtu(mtu) {
      await turn();
      if (mtu > 9000) throw new DeviceError('INVALID', `an MTU of ${mtu}: too much`);
      device.mtu = mtu;
      told.push(`MTU ${mtu}`);
    },
    putBackMtu: (mtu) => told.push(`put back ${mtu}`),
    log: (line) => log.push(line),
    failed: (reason) => errors.push(reason),
  });
  const change = (changes: Partial<InterfaceSettings>) => {
    settings = { ...settings, ...changes };
    follower.changed();
  };
  const set = async (changes: Partial<InterfaceSettings>) => {
    change(changes);
    for (let i = 0; i < 5; i++) await turn();
    return told.splice(0);
  };
  const fail = (reason: Error) => {
    error = reason;
    return set({});
  };
  return { device, follower, log, errors, set, change, told, fail };
}

test('what changed is told to the card, and nothing else', async (t) => {
  const b = bench();
  t.deepEqual(await b.set({}), []);
  t.deepEqual(await b.set({ mtu: 9000 }), ['MTU 9000']);
  t.deepEqual(await b.set({ mac: Uint8Array.of(2, 0, 0, 0, 0, 9) }), ['address …9']);
  t.deepEqual(await b.set({ promiscuity: 1 }), ['promiscuous true']);
  t.deepEqual(await b.set({ promiscuity: 2, master: 7 }), []);
  t.deepEqual(await b.set({ promiscuity: 0 }), [], 'a master is reason enough');
  t.deepEqual(await b.set({ master: 0 }), ['promiscuous false']);
  t.deepEqual(await b.set({ name: 'nic1' }), []);
  t.is(b.log.at(-1), 'nic0 is now called nic1');
});

test('a card that is not up yet runs; then it goes down and up with the interface', async (t) => {
  const b = bench();
  t.deepEqual(await b.set({}), []);
  t.deepEqual(await b.set({ up: true }), []);
  t.deepEqual(await b.set({ up: false, mtu: 1400 }), ['stop', 'MTU 1400']);
  t.deepEqual(await b.set({ up: true, mtu: 1300 }), ['MTU 1300', 'start'], 'the MTU first, so that it is started once');
});

test('an MTU that cannot be is put back, with the reason', async (t) => {
  const b = bench();
  t.deepEqual(await b.set({ mtu: 20_000 }), ['put back 1500']);
  t.deepEqual(b.log, ['nic0: MTU back to 1500: an MTU of 20000: too much']);
  t.deepEqual(await b.set({ mtu: 1500 }), []);
});

test('changes while one is being followed: the last one counts', async (t) => {
  const b = bench();
  for (const mtu of [1400, 1300, 1200]) b.change({ mtu });
  t.deepEqual(await b.set({}), ['MTU 1400', 'MTU 1200']);
});

test('where it cannot be followed any more the card runs, and hears everything', async (t) => {
  const b = bench();
  await b.set({ up: true });
  await b.set({ up: false });
  const denied = Object.assign(new Error('not permitted'), { code: 'EPERM' });
  t.deepEqual(await b.fail(denied), ['promiscuous true', 'start']);
  t.deepEqual(b.errors, []);
  t.is(b.log.at(-1), 'nic0: its settings are followed no longer: not permitted');
  t.deepEqual(await b.set({ mtu: 1400 }), []);
});

test('an interface that was deleted is told once', async (t) => {
  const b = bench();
  const deleted = Object.assign(new Error('deleted'), { code: 'EBADFD' });
  t.deepEqual(await b.fail(deleted), []);
  await b.set({});
  t.deepEqual(b.errors, [deleted]);
});

test('after close nothing is followed', async (t) => {
  const b = bench();
  b.change({ mtu: 20_000 });
  b.follower.close();
  t.deepEqual(await b.set({ promiscuity: 1 }), []);
  t.deepEqual(b.errors, []);
});
