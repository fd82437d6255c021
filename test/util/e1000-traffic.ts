/** What a driver of an 82540EM, its partner and time might do, by a seed. */
import { FCS_ERROR } from '../../sim/wire/index.ts';
import type { Prng } from '../../sim/wire/prng.ts';
import { Bench, EOP, IDE, IFCS, IXSM, R, RS, TSE, TXSM } from './e1000-harness.ts';
import { ethernet, ip, pattern, pause } from './packets.ts';

const { SK, CS, DI, EE_REQ } = R.EECD;

/** A card that sends and receives. */
export function busy(prng: Prng): Bench {
  const b = new Bench({
    wire: prng.next() % 2 ? { rate: 1e9, latency: 700, loss: 0.05, reorder: 0.1 } : {},
    memory: 2 << 20,
  });
  b.transmitter(32);
  b.receiver(32);
  b.set(R.CTRL, R.CTRL.RFCE | R.CTRL.TFCE);
  b.write(R.FCRTH, 4096);
  b.write(R.FCRTL, (R.FCRTL.XONE | 1024) >>> 0);
  b.write(R.PBA, 16);
  b.write(R.IMS, 0xffffffff);
  return b;
}

/** Posts a packet of `length` bytes to be cut. */
export function segmented(b: Bench, length: number, mss: number): void {
  const { bytes, l4, payload } = ip({ segmented: true, checksum: 'pseudo', ipChecksum: 0, data: pattern(length) });
  b.context({
    ipStart: 14,
    ipSum: 24,
    ipEnd: 33,
    l4Start: l4,
    l4Sum: l4 + 16,
    header: payload,
    mss,
    payload: length,
    segment: true,
  });
  b.data(bytes.subarray(0, 700), IFCS | TSE, { options: IXSM | TXSM });
  b.data(bytes.subarray(700), EOP | IFCS | TSE | RS, { options: IXSM | TXSM });
}

/** One thing that a driver, the partner or time might do. The same numbers give the same. */
export function step(b: Bench, prng: Prng): void {
  const upTo = (n: number) => prng.next() % n;
  const frame = () => ethernet({ length: 60 + upTo(900), seed: upTo(256), vlan: upTo(4) === 0 ? upTo(9) : undefined });
  const actions = [
    () => b.clock.advance(upTo(3000)),
    () => b.clock.advance(upTo(300_000)),
    () => b.inject(frame(), upTo(8) === 0 ? FCS_ERROR : 0),
    () => b.inject(frame()),
    () => b.inject(pause(upTo(50))),
    () => b.send(frame(), EOP | IFCS | RS | (upTo(2) ? IDE : 0)),
    () => segmented(b, 700 + upTo(3000), 50 + upTo(500)),
    () => b.ring(),
    () => b.write(R.RDT, upTo(b.rxCount)),
    () => b.write(R.EECD, EE_REQ | (upTo(8) ? CS : 0) | (upTo(2) ? DI : 0)),
    () => b.set(R.EECD, SK),
    () => b.read(R.EECD),
    () => b.read(R.ICR),
    () => b.read(R.STATUS),
    () => b.write(R.ICS, 1 << upTo(17)),
    () => b.write(R.ITR, upTo(3) * 200),
    () => b.write(R.RDTR, upTo(3) * 50),
    () => b.write(R.RADV, upTo(3) * 60),
    () => b.write(R.TIDV, upTo(100)),
    () => b.write(R.TXDCTL, R.TXDCTL.GRAN | (upTo(6) << 16)),
    () => b.write(R.RXDCTL, R.RXDCTL.GRAN | (upTo(6) << 16)),
    () => b.mdio(upTo(32)),
    () => b.mdio([0, 4, 9, 18][upTo(4)]!, [0x1200, 0x0de1, 0x0300, 0x0400][upTo(4)]!),
    () => b.write(R.RCTL, R.RCTL.EN | R.RCTL.UPE | R.RCTL.MPE | [0, R.RCTL.SECRC, R.RCTL.SBP][upTo(3)]!),
    () => b.write(R.RXCSUM, upTo(0x800)),
    () => b.read(R.GPRC),
    () => b.card.writeBar(2, 0, 4, upTo(0x10000)),
    () => upTo(10) === 0 && b.wire.disconnect(),
    () => b.wire.connect(),
    () => upTo(20) === 0 && b.write(R.CTRL, R.CTRL.RST),
    () => b.set(R.CTRL, R.CTRL.SLU | R.CTRL.RFCE | R.CTRL.TFCE | (upTo(2) ? R.CTRL.VME : 0)),
  ];
  actions[upTo(actions.length)]!();
}
