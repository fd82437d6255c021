import test from 'ava';
import { Clock } from '../../sim/clock.ts';
import {
  alarm,
  array,
  block,
  checked,
  deadline,
  each,
  list,
  record,
  restore,
  StateError,
  value,
  whole,
} from '../../sim/state.ts';

function queue(clock: Clock, index: number) {
  const words = Uint32Array.of(index, 0);
  const own = { head: 0, armed: false, until: 0, fifo: new Uint8Array(0), fired: -1, settled: 0, sent: 0 };
  const packet = { length: 0, last: false, header: new Uint8Array(2) };
  const timer = clock.alarm(() => {
    own.fired = clock.now;
  });
  const state = block(
    3,
    {
      words: array(words),
      packet: record(packet, 64),
      ends: checked(record({ from: 0, to: 0 }), ({ from, to }) => (from > to ? `${from} is behind ${to}` : null)),
      sent: whole(
        () => own.sent,
        (sent) => (own.sent = sent),
        9,
      ),
      head: value(
        () => own.head,
        (head) => (own.head = head),
        (head) => head < 8,
      ),
      armed: value(
        () => own.armed,
        (armed) => (own.armed = armed),
      ),
      fifo: list(
        () => own.fifo,
        (fifo) => (own.fifo = fifo.slice()),
        4,
      ),
      timer: alarm(timer),
      until: deadline(
        clock,
        () => own.until,
        (at) => (own.until = at),
      ),
    },
    () => own.settled++,
  );
  return { words, own, packet, timer, state };
}

test('saved, and loaded into another under another clock', (t) => {
  const clock = new Clock();
  clock.advance(1000);
  const one = queue(clock, 1);
  one.words[1] = 7;
  Object.assign(one.own, { head: 3, armed: true, until: 1500, fifo: Uint8Array.of(1, 2) });
  Object.assign(one.packet, { length: 60, last: true });
  one.packet.header[1] = 9;
  one.timer.in(50);
  const saved = structuredClone(one.state.save());
  const later = new Clock();
  later.advance(9_000);
  const other = queue(later, 2);
  restore(other.state, saved, 'queue');
  t.deepEqual([...other.words], [1, 7]);
  t.like(other.own, { head: 3, armed: true, until: 9500, settled: 1 });
  t.deepEqual(other.packet, { length: 60, last: true, header: Uint8Array.of(0, 9) });
  t.deepEqual(other.state.save(), saved);
  one.words[1] = 8;
  t.is(other.words[1], 7, 'a copy');
  later.advance(50);
  t.is(other.own.fired, 9050);
  t.is(other.state.save().timer, -1);
});

test('what does not fit is refused by name, and nothing of it is loaded', (t) => {
  const clock = new Clock();
  const queues = [queue(clock, 0), queue(clock, 1)];
  const all = block(1, { queues: each(queues.map(({ state }) => state)) });
  const good = all.save();
  const [first, second] = good.queues as [(typeof good.queues)[0], (typeof good.queues)[0]];
  const wrong: [unknown, string][] = [
    [null, 'card: nothing, not a state'],
    [new Uint8Array(4), 'card: a Uint8Array, not a state'],
    [{ ...good, version: 2 }, 'card: a state of version 2, where 1 is wanted'],
    [{ version: 1 }, 'card.queues: nothing, which is too little'],
    [{ ...good, more: 1 }, 'card.more: no such part'],
    [{ ...good, queues: [first] }, 'card.queues: 1 elements, not 2'],
    [{ ...good, queues: {} }, 'card.queues: an object, not a list'],
    ...(
      [
        [{ head: true }, 'head: a boolean, not a number'],
        [{ head: Number.NaN }, 'head: NaN'],
        [{ head: 8 }, 'head: 8 cannot be'],
        [{ words: new Uint32Array(1) }, 'words: 1 elements, not 2'],
        [{ words: [1, 2] }, 'words: an Array, not a Uint32Array'],
        [{ words: new Int32Array(2) }, 'words: an Int32Array, not a Uint32Array'],
        [{ packet: { ...first.packet, last: 1 } }, 'packet.last: a number, not a boolean'],
        [{ packet: { length: 1, last: true } }, 'packet.header: nothing, which is too little'],
        [{ packet: { ...first.packet, length: 65 } }, 'packet.length: 65 cannot be'],
        [{ packet: { ...first.packet, length: 0.5 } }, 'packet.length: 0.5 cannot be'],
        [{ sent: -1 }, 'sent: -1 cannot be'],
        [{ sent: 1.5 }, 'sent: 1.5 cannot be'],
        [{ sent: 10 }, 'sent: 10 cannot be'],
        [{ ends: { from: 2, to: 1 } }, 'ends: 2 is behind 1'],
        [{ packet: [] }, 'packet: an Array, not a state'],
        [{ fifo: new Uint8Array(5) }, 'fifo: 5 elements, of 4 at most'],
        [{ timer: -2 }, 'timer: -2, not a time left'],
        [{ until: '1' }, 'until: a string, not a time left'],
        [{ armed: undefined }, 'armed: nothing, not a boolean'],
      ] as const
    ).map(([part, says]): [unknown, string] => [
      {
        ...good,
        queues: [
          { ...first, head: 5 },
          { ...second, ...part },
        ],
      },
      `card.queues[1].${says}`,
    ]),
  ];
  for (const [saved, message] of wrong) {
    t.throws(() => restore(all, saved, 'card'), { instanceOf: StateError, message });
    t.is(queues[0]!.own.head, 0, message);
  }
  restore(all, good, 'card');
});
