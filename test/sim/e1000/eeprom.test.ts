/** The EEPROM: the Microwire port bit by bit as a driver drives it (13.4.3, 5.2), and EERD (13.4.4). */
import test from 'ava';
import { Bench, R } from '../../util/e1000-harness.ts';

const { SK, CS, DI, DO, EE_REQ, EE_GNT, EE_PRES, EE_SIZE } = R.EECD;
const ADDRESS_BITS = 6;

/** A driver's bit-bang. */
class Microwire {
  readonly bench: Bench;
  constructor(bench = new Bench({ up: true })) {
    this.bench = bench;
    bench.set(R.EECD, EE_REQ);
  }
  #put(bits: number): void {
    const held = this.bench.read(R.EECD) & ~(SK | CS | DI);
    this.bench.write(R.EECD, held | bits);
  }
  select(): void {
    this.#put(CS);
  }
  deselect(): void {
    this.#put(0);
  }
  clockIn(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit--) {
      const data = (value >>> bit) & 1 ? CS | DI : CS;
      this.#put(data);
      this.#put(data | SK);
      this.#put(data);
    }
  }
  clockOut(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      this.#put(CS | SK);
      value = (value << 1) | (this.bench.read(R.EECD) & DO ? 1 : 0);
      this.#put(CS);
    }
    return value;
  }
  command(opcode: number, address: number): void {
    this.select();
    this.clockIn(0b100 | opcode, 3);
    this.clockIn(address, ADDRESS_BITS);
  }
  /** A whole command, with what data it takes. */
  finish(opcode: number, address: number, value = 0, bits = 0): void {
    this.command(opcode, address);
    this.clockIn(value, bits);
    this.deselect();
  }
  cut(value: number, bits: number): void {
    this.select();
    this.clockIn(value, bits);
    this.deselect();
  }
  forbidden(address: number, value: number): void {
    this.finish(0b00, 0);
    this.write(address, value);
  }
  read(address: number, words = 1): number[] {
    this.command(0b10, address);
    const out = Array.from({ length: words }, () => this.clockOut(16));
    this.deselect();
    return out;
  }
  write(address: number, value: number): void {
    this.finish(0b01, address, value, 16);
  }
  enable(): void {
    this.finish(0b00, 0b110000);
  }
  get ready(): boolean {
    this.select();
    const ready = (this.bench.read(R.EECD) & DO) !== 0;
    this.deselect();
    return ready;
  }
}

test('a request for the port is granted, and given back (13.4.3)', (t) => {
  const b = new Bench();
  t.is(b.read(R.EECD) & (EE_GNT | EE_PRES | EE_SIZE), EE_PRES);
  b.set(R.EECD, EE_REQ);
  t.is(b.read(R.EECD) & EE_GNT, EE_GNT);
  b.clear(R.EECD, EE_REQ);
  t.is(b.read(R.EECD) & EE_GNT, 0);
});

test('READ shifts a word out, most significant bit first, behind a dummy 0', (t) => {
  const port = new Microwire();
  t.deepEqual(port.read(0x0d), [0x100e]);
  port.command(0b10, 0x0d);
  t.is(port.bench.read(R.EECD) & DO, 0, 'the dummy bit');
});

test('READ goes on with the next word, and from the last with the first', (t) => {
  const port = new Microwire();
  const words = port.bench.card.eeprom.words;
  t.deepEqual(port.read(0x3e, 3), [words[0x3e], words[0x3f], words[0]]);
});

test('leading zeros before the start bit are nothing', (t) => {
  const port = new Microwire();
  port.select();
  port.clockIn(0, 5);
  port.clockIn(0b110, 3);
  port.clockIn(0x0e, ADDRESS_BITS);
  t.is(port.clockOut(16), 0x8086);
});

test('after power-on a WRITE does nothing until EWEN', (t) => {
  const port = new Microwire();
  port.write(5, 0x1234);
  t.deepEqual(port.read(5), [0xffff]);
  port.enable();
  port.write(5, 0x1234);
  t.true(port.ready);
  t.deepEqual(port.read(5), [0x1234]);
});

// A command after EWEN and a WRITE of 1234h to word 5: what words 4 and 5 then hold.
const commands: [string, (port: Microwire) => void, number, number][] = [
  ['ERASE sets one word to ones', (p) => p.finish(0b11, 5), 0x4444, 0xffff],
  ['EWDS forbids what follows', (p) => p.forbidden(5, 0x9999), 0x4444, 0x1234],
  ['ERAL sets every word to ones', (p) => p.finish(0b00, 0b100000), 0xffff, 0xffff],
  ['WRAL writes every word', (p) => p.finish(0b00, 0b010000, 0xabcd, 16), 0xabcd, 0xabcd],
  ['WRITE cut short does nothing', (p) => p.finish(0b01, 5, 0, 15), 0x4444, 0x1234],
  ['a command cut short does nothing', (p) => p.cut(0b11100010, 8), 0x4444, 0x1234],
];
for (const [what, act, four, five] of commands) {
  test(what, (t) => {
    const port = new Microwire();
    port.enable();
    port.write(4, 0x4444);
    port.write(5, 0x1234);
    act(port);
    t.deepEqual(port.read(4, 2), [four, five]);
  });
}

test('only rising edges of SK count, and none without CS', (t) => {
  const port = new Microwire();
  port.clockOut(3);
  port.deselect();
  port.bench.write(R.EECD, EE_REQ | SK | DI);
  port.bench.write(R.EECD, EE_REQ | DI);
  t.deepEqual(port.read(0x0c), [0x8086]);
});

test('the image sums to BABAh (5.6.35), and carries the station address', (t) => {
  const mac = Uint8Array.of(0x52, 0x54, 0x00, 0xfe, 0xdc, 0xba);
  const { card } = new Bench({ mac });
  t.is(
    card.eeprom.words.reduce((sum, word) => (sum + word) & 0xffff, 0),
    0xbaba,
  );
  t.deepEqual([...card.eeprom.words.subarray(0, 3)], [0x5452, 0xfe00, 0xbadc]);
  t.is(card.registers.words[R.RAL.word(0)], 0xfe005452);
  t.is(card.registers.words[R.RAH.word(0)], 0x8000badc);
});

test('without its signature nothing is loaded from the image (table 5-2)', (t) => {
  const { card } = new Bench({ eeprom: new Uint16Array(64) });
  t.is(card.registers.words[R.RAH.word(0)], 0);
});

test('CTRL_EXT.EE_RST loads the image again (13.4.6)', (t) => {
  const b = new Bench();
  b.card.eeprom.words[2] = 0x7777;
  b.set(R.CTRL_EXT, R.CTRL_EXT.EE_RST);
  t.is(b.read(R.RAH), 0x80007777);
  t.is(b.read(R.CTRL_EXT) & R.CTRL_EXT.EE_RST, 0);
});

test('EERD reads a word, and is done (13.4.4)', (t) => {
  const b = new Bench();
  b.write(R.EERD, R.EERD.START | (0x0d << 8));
  t.is(b.read(R.EERD), 0x100e0d10);
});

test('EERD of a word there is not reads ones', (t) => {
  const b = new Bench();
  b.write(R.EERD, R.EERD.START | (0x40 << 8));
  t.is(b.read(R.EERD) >>> 16, 0xffff);
});

test('EERD is not done while software holds the port', (t) => {
  const b = new Bench();
  b.set(R.EECD, EE_REQ);
  b.write(R.EERD, R.EERD.START | (0x0d << 8));
  t.is(b.read(R.EERD) & R.EERD.DONE, 0);
  b.clear(R.EECD, EE_REQ);
  b.write(R.EERD, R.EERD.START | (0x0d << 8));
  t.is(b.read(R.EERD) & R.EERD.DONE, R.EERD.DONE);
});
