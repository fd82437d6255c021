/** What a driver of a BCM57xx, its partner and time might do, by a seed. */
import type { ChipName } from '../../sim/tg3/chips.ts';
import { TX_CPU_POST_DMA, TX_CPU_PRE_DMA, TX_END, TX_VLAN } from '../../sim/tg3/descriptors.ts';
import type { Prng } from '../../sim/wire/prng.ts';
import { ethernet, ip, PARTNER, pattern, pause, STATION } from './packets.ts';
import { Bench, LINK_UP, R } from './tg3-harness.ts';

const OUT = { to: PARTNER, from: STATION };
const SEGMENTED = TX_CPU_PRE_DMA | TX_CPU_POST_DMA | TX_END;

/** A card that sends and receives. */
export function busy(chip: ChipName, prng: Prng): Bench {
  const b = new Bench({
    chip,
    wire: prng.next() % 2 ? { rate: 1e9, latency: 700, loss: 0.05, reorder: 0.1 } : {},
    buffers: prng.next() % 2 ? 100 : 10,
    memory: 2 << 20,
  });
  b.write(R.HOSTCC_RXMAX_FRAMES, 1 + (prng.next() % 8));
  b.write(R.HOSTCC_TXMAX_FRAMES, 1 + (prng.next() % 8));
  b.write(R.HOSTCC_RXCOL_TICKS, 20);
  b.write(R.HOSTCC_TXCOL_TICKS, 72);
  b.set(R.MAC_TX_MODE, R.MAC_TX_MODE.FLOW_CTRL_ENABLE);
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.FLOW_CTRL_ENABLE);
  return b;
}

/** Posts a packet to be cut, as the chip's generation is asked for it; its options are none. */
function segmented(b: Bench, length: number, mss: number): void {
  const { bytes } = ip({ ...OUT, segmented: true, data: pattern(length), checksum: 0 });
  if (b.card.chip.is577xx) b.data(bytes, SEGMENTED | (1 << 10), ((mss | (2 << 14)) << 16) >>> 0);
  else b.data(bytes, SEGMENTED, mss << 16);
}

/** One thing that a driver, the partner or time might do. The same numbers give the same. */
export function step(b: Bench, prng: Prng): void {
  const upTo = (n: number) => prng.next() % n;
  const frame = () => ethernet({ length: 60 + upTo(900), seed: upTo(256), vlan: upTo(4) === 0 ? upTo(9) : undefined });
  const out = () => ethernet({ ...OUT, length: 60 + upTo(900), seed: upTo(256) });
  const { RSS_ENABLE, RSS_IPV4_HASH_EN, RSS_TCP_IPV4_HASH_EN } = R.MAC_RX_MODE;
  const actions = [
    () => b.clock.advance(upTo(3000)),
    () => b.clock.advance(upTo(300_000)),
    () => b.clock.advance(LINK_UP),
    () => b.inject(frame()),
    () => b.inject(frame()),
    () => b.inject(ip({ data: pattern(upTo(1000)) }).bytes),
    () => b.inject(pause(upTo(50))),
    () => b.send(out()),
    () => b.send(out(), TX_END | TX_VLAN, upTo(4096)),
    () => b.data(out(), upTo(2) ? TX_END : 0),
    () => segmented(b, 700 + upTo(3000), 50 + upTo(500)),
    () => b.ring(),
    () => b.give(upTo(4)),
    () => b.received(upTo(4)),
    () => b.write(R.MBOX_INTERRUPT, upTo(2) ? 1 : b.tag << 24, upTo(2)),
    () => b.write(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE | (upTo(2) ? R.HOSTCC_MODE.NOW : 0)),
    () => b.write(R.HOSTCC_RXMAX_FRAMES, upTo(20)),
    () => b.write(R.HOSTCC_RXCOL_TICKS, upTo(100)),
    () => b.set(R.MAC_RX_MODE, RSS_ENABLE | RSS_IPV4_HASH_EN | RSS_TCP_IPV4_HASH_EN),
    () => b.clear(R.MAC_RX_MODE, RSS_ENABLE),
    () => b.write(R.MAC_RSS_HASH_KEY, prng.next(), upTo(10)),
    () => b.write(R.MAC_RSS_INDIR_TBL, prng.next(), upTo(16)),
    () => b.mdio(upTo(32)),
    () => b.mdio([4, 9, 0x15, 0x17, 0x18, 0x1c][upTo(6)]!, [0x0de1, 0x0300, 0x8400][upTo(3)]!),
    () => upTo(10) === 0 && b.mdio(0, 0x1200),
    () => b.sramWrite(upTo(0x2_0000) & ~3 & ~0x3ff, prng.next()),
    () => b.nvramRead(upTo(0x1000) & ~3),
    () => b.write(R.NVRAM_SWARB, 1 << upTo(8)),
    () => b.read(R.MAC_RX_STATS_UCAST),
    () => b.write(R.MAC_STATUS, R.MAC_STATUS.LNKSTATE_CHANGED),
    () => upTo(10) === 0 && b.wire.disconnect(),
    () => b.wire.connect(),
    () => upTo(60) === 0 && b.chipReset(),
  ];
  actions[upTo(actions.length)]!();
}
