/**
 * The serial EEPROM, 64 words of 16 bits (manual chapter 5): by bit-bang of its Microwire port through EECD (13.4.3), or
 * a word at a time through EERD (13.4.4).
 *
 * The part is of the 93C46 kind. After CS rises it shifts in a start bit 1, two bits of opcode and six of address, most
 * significant first, on rising edges of SK; a READ then shifts out a dummy 0 and the word's 16 bits, and goes on with the
 * next word for as long as it is clocked.
 */
import { field, place } from '../registers.ts';
import { array, block, record } from '../state.ts';
import type { BlockContext } from './context.ts';
import { EEPROM_WORDS } from './nvm.ts';
import type { FamilyRegisters } from './registers.ts';

const ADDRESS_BITS = 6;

const OPCODE_EXTENDED = 0b00; // the two top address bits say which: EWDS 00, WRAL 01, ERAL 10, EWEN 11
const OPCODE_WRITE = 0b01;
const OPCODE_READ = 0b10;

type Phase = 'idle' | 'command' | 'read' | 'data' | 'done';
type Operation = 'none' | 'write' | 'erase' | 'write all' | 'erase all';

export class Eeprom {
  readonly words: Uint16Array;
  readonly state;
  readonly #r: FamilyRegisters;
  readonly #registers: Uint32Array;
  readonly #port = powerOn();

  constructor({ registers, r }: BlockContext, image: Uint16Array) {
    this.words = image;
    this.#r = r;
    this.#registers = registers.words;
    registers.onWrite(r.EECD, (value) => this.#eecdWritten(value));
    registers.onWrite(r.EERD, (value) => this.#eerdWritten(value));
    this.state = block(1, { words: array(image), port: record(this.#port) });
    this.reset();
  }

  /** The reset value of EECD says what is fitted: EE_PRES, and EE_SIZE 0 for 64 words. */
  reset(): void {
    const { EECD } = this.#r;
    Object.assign(this.#port, powerOn());
    this.#registers[EECD.word] = EECD.EE_PRES | EECD.DO;
  }

  /** Whether initialization control word 1 carries the signature 01b: without it nothing is loaded (table 5-2). */
  get signed(): boolean {
    return this.words[0x0a]! >>> 14 === 0b01;
  }

  #eecdWritten(value: number): void {
    const { EECD } = this.#r;
    const state = this.#port;
    const held = value & (EECD.SK | EECD.CS | EECD.DI | EECD.FWE | EECD.EE_REQ);
    const granted = value & EECD.EE_REQ ? EECD.EE_GNT : 0; // nobody else contends for the port
    const before = state.previous;
    state.previous = held;
    if (!(held & EECD.CS)) this.#deselect();
    else if (!(before & EECD.CS)) Object.assign(state, { phase: 'command', bits: 0, shift: 0, out: 1 });
    else if (held & ~before & EECD.SK) state.out = this.#clocked((held & EECD.DI) !== 0 ? 1 : 0);
    this.#registers[EECD.word] = held | granted | EECD.EE_PRES | (state.out ? EECD.DO : 0);
  }

  /** CS low ends a command. Writes and erases happen now and take no time: DO shows ready at once. */
  #deselect(): void {
    const state = this.#port;
    if (state.writeEnabled && state.phase === 'done') this.#store(state.operation, state.address, state.shift);
    state.phase = 'idle';
    state.operation = 'none';
    state.out = 1;
  }

  #store(operation: Operation, address: number, value: number): void {
    if (operation === 'write') this.words[address] = value;
    else if (operation === 'erase') this.words[address] = 0xffff;
    else if (operation === 'write all') this.words.fill(value);
    else if (operation === 'erase all') this.words.fill(0xffff);
  }

  /** A rising edge of SK with `bit` on DI; returns what DO then shows. */
  #clocked(bit: number): number {
    const state = this.#port;
    if (state.phase === 'read') return this.#shiftOut();
    const started = state.bits > 0 || bit === 1;
    if ((state.phase === 'command' && started) || state.phase === 'data') {
      state.shift = (state.shift << 1) | bit;
      state.bits++;
    }
    if (state.phase === 'data' && state.bits === 16) state.phase = 'done';
    if (state.phase === 'command' && state.bits === 3 + ADDRESS_BITS) return this.#command();
    return 1;
  }

  #command(): number {
    const state = this.#port;
    const opcode = (state.shift >>> ADDRESS_BITS) & 3;
    state.address = state.shift & (EEPROM_WORDS - 1);
    state.bits = 0;
    state.shift = 0;
    if (opcode === OPCODE_READ) {
      state.phase = 'read';
      return 0; // the dummy bit
    }
    if (opcode === OPCODE_EXTENDED) this.#extended(state.address >>> (ADDRESS_BITS - 2));
    else state.operation = opcode === OPCODE_WRITE ? 'write' : 'erase';
    state.phase = state.operation.startsWith('write') ? 'data' : 'done';
    return 1;
  }

  #extended(which: number): void {
    const state = this.#port;
    if (which === 0b11) state.writeEnabled = true;
    else if (which === 0b00) state.writeEnabled = false;
    else state.operation = which === 0b10 ? 'erase all' : 'write all';
  }

  #shiftOut(): number {
    const state = this.#port;
    const bit = (this.words[state.address]! >>> (15 - state.bits)) & 1;
    if (++state.bits === 16) {
      state.bits = 0;
      state.address = (state.address + 1) % EEPROM_WORDS;
    }
    return bit;
  }

  #eerdWritten(value: number): void {
    const { EECD, EERD } = this.#r;
    const words = this.#registers;
    if (!(value & EERD.START)) return;
    // While software holds the port through EECD, EERD does not get it, and DONE stays clear.
    const address = value & EERD.ADDR;
    const data = this.words[field(value, EERD.ADDR)] ?? 0xffff;
    const held = (words[EECD.word]! & EECD.EE_GNT) !== 0;
    words[EERD.word] = held ? address : address | EERD.DONE | place(EERD.DATA, data);
  }
}

function powerOn() {
  return {
    phase: 'idle' as Phase,
    operation: 'none' as Operation,
    shift: 0, // bits since the start bit, or of the data word
    bits: 0,
    address: 0,
    writeEnabled: false,
    previous: 0, // EECD as last written: edges are seen against it
    out: 1, // DO
  };
}
