/**
 * A guest that writes random registers, the card's memory and bus mastering on: the server goes on, what the card may not
 * reach is refused and counted, and after the machine's reset the card works for whoever boots next.
 */
import { readdirSync } from 'node:fs';
import tap from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { Network } from '../../scripts/rig/network.ts';
import { SocketFolder } from '../../scripts/rig/socket-folder.ts';
import type { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { Prng } from '../../sim/wire/prng.ts';
import { GuestSession } from '../../vm/guest.ts';
import { GuestError } from '../../vm/guest-machine.ts';
import { until } from '../util/until.ts';
import { parts as partsWith } from './parts.ts';

const parts = await partsWith(['e1000']);
const seed = Number(process.env.FAUXNIC_SEED ?? Date.now() % 2 ** 31);

const SECONDS = 20;
const AT_A_TIME = 300;
/** Left alone by the guest's kernel, so that DMA there is DMA, and harms nobody. */
const SPARE = { start: 128 << 20, bytes: 16 << 20 };

const { RDBAL, RDBAH, RDLEN, RDH, RDT, TDBAL, TDBAH, TDLEN, TDH, TDT, RCTL, TCTL, CTRL, ICS, IMS } = I82540EM.r;
const BASES = [RDBAL, TDBAL];
const HIGHS = [RDBAH, TDBAH];
const FAVOURITES = [RDLEN, RDH, RDT, TDLEN, TDH, TDT, RCTL, TCTL, CTRL, ICS, IMS];

/** One access: devmem's arguments, the offset in the BAR first. */
function access(random: Prng): string {
  const pick = <T>(from: readonly T[]) => from[random.next() % from.length]!;
  const value = () => pick([0, 0xffffffff, 1 << (random.next() % 32), random.next(), random.next() & 0xff]) >>> 0;
  switch (random.next() % 8) {
    case 0:
      return `${pick(BASES).at} 32 ${pick([SPARE.start + (random.next() % SPARE.bytes), (random.next() | 0x8000_0000) >>> 0])}`;
    case 1:
      return `${pick(HIGHS).at} 32 ${pick([0, 0, value()])}`;
    case 2:
    case 3:
    case 4:
      return `${pick(FAVOURITES).at} 32 ${pick([value(), 0x80, 0x4010a, 0x801a, 0x80da])}`;
    case 5:
      return `${(random.next() % 0x20000) & ~3} 32`; // read
    case 6:
      return `${random.next() % 0x20000} 8 ${random.next() & 0xff}`;
    default:
      return `${pick(I82540EM.rows).at} 32 ${value()}`;
  }
}

const PREPARE = `set -e
for device in /sys/bus/pci/devices/*; do
  [ "$(cat $device/vendor):$(cat $device/device)" != 0x8086:0x100e ] || card=$device
done
rmmod e1000
printf '\\007\\000' | dd of=$card/config bs=1 seek=4 conv=notrunc 2>&-
read bar rest < $card/resource
echo $((bar)) > /run/bar`;

/** Busybox's own shell runs devmem without starting a program. */
const play = (accesses: readonly string[]) => `bar=$(cat /run/bar)
cat > /run/play <<'END'
while read -r at width value; do devmem $(($1 + at)) $width $value > /dev/null; done
END
busybox sh /run/play $bar <<'END'
${accesses.join('\n')}
END`;

const PING = `ip addr add 10.0.0.1/24 dev eth0
ip link set eth0 up
for i in $(seq 40); do ping -c 1 -W 1 10.0.0.2 && exit 0; done
exit 1`;

void tap.test(`a guest that writes random registers for ${SECONDS} s, seed ${seed}`, async (t) => {
  const before = readdirSync('/proc/self/fd').length;
  const sockets = new SocketFolder();
  const notes: string[] = [];
  const socket = sockets.at('card');
  const card = { model: MODELS.find(({ name }) => name === 'e1000')!, socket };
  const network = await Network.open({ cards: [card], peer: { kind: 'echo' }, note: (text) => notes.push(text) });
  const server = network.servers[0]!;
  let guest: GuestSession | undefined;
  try {
    guest = await GuestSession.open({
      ...parts,
      restarts: true,
      append: [`memmap=${SPARE.bytes}$${SPARE.start}`, 'iomem=relaxed'],
      nics: [{ kind: 'vfio-user', socket }],
    });
    const prepared = await guest.run(PREPARE);
    t.equal(prepared.exitCode, 0, prepared.output);
    const random = new Prng(seed);
    let done = 0;
    try {
      for (const end = performance.now() + SECONDS * 1000; performance.now() < end; done += AT_A_TIME) {
        const { exitCode, output } = await guest.run(play(Array.from({ length: AT_A_TIME }, () => access(random))));
        if (exitCode !== 0) t.fail(`devmem: ${output.slice(0, 200)}`);
      }
    } catch (error) {
      // The card did to the guest's memory what it was told to. What counts is that the machine can start anew.
      if (!(error instanceof GuestError)) throw error;
      t.comment(error.message);
    }
    const model = server.model as unknown as E1000;
    t.ok(done >= AT_A_TIME, `${done} accesses`);
    t.comment(`${done} accesses, refused: ${JSON.stringify(model.refused)}, ${model.dma.faults} DMA faults`);
    t.ok(model.dma.faults > 0, 'random addresses were refused, and counted');
    t.ok(server.connected, 'QEMU is still served');
    await guest.restart({ hard: true });
    const ping = await guest.run(PING, 60);
    t.equal(ping.exitCode, 0, `FAUXNIC_SEED=${seed}: ${ping.output.slice(-300)}`);
    t.equal((await guest.run("dmesg | grep -E 'WARNING|BUG|Oops|Tx Unit Hang'")).output, '');
    t.notOk(
      notes.find((note) => /failed|dropped/.test(note)),
      notes.join('; '),
    );
  } finally {
    await guest?.close();
    await network.close();
    sockets.remove();
  }
  // The one with which eventfds are rung stays for as long as the process does (native/src/descriptor.cc).
  await until(() => readdirSync('/proc/self/fd').length <= before + 1, 'every descriptor closed');
});
