/** Virtual time. */
import test from 'ava';
import fc from 'fast-check';
import { type Alarm, Clock } from '../../sim/clock.ts';

test('advancing adds up, and an absolute time is absolute', (t) => {
  const clock = new Clock();
  for (let i = 0; i < 3; i++) clock.advance(1000);
  t.is(clock.now, 3000);
  clock.advanceTo(3500);
  t.is(clock.now, 3500);
  clock.advanceTo(10);
  t.is(clock.now, 3500, 'never back');
});

test('alarms run at their deadlines, once, in order; ties in the order they were made', (t) => {
  const clock = new Clock();
  const ran: string[] = [];
  const [a, b, c] = ['a', 'b', 'c'].map((name) => clock.alarm(() => ran.push(`${name}@${clock.now}`))) as Alarm[];
  c!.at(5);
  b!.at(5);
  a!.at(7);
  clock.advanceTo(10);
  t.deepEqual(ran, ['b@5', 'c@5', 'a@7']);
  clock.advanceTo(100);
  t.is(ran.length, 3);
});

test('an alarm can be moved, cancelled and scheduled again from its own action', (t) => {
  const clock = new Clock();
  const at: number[] = [];
  const alarm = clock.alarm(() => {
    at.push(clock.now);
    if (at.length < 3) alarm.in(10);
  });
  alarm.at(50);
  alarm.at(20);
  clock.advanceTo(25);
  t.deepEqual(at, [20]);
  t.is(clock.next, 30);
  alarm.cancel();
  t.false(alarm.scheduled);
  t.is(clock.next, Infinity);
  clock.advanceTo(100);
  t.deepEqual(at, [20]);
});

test('cancelled at the very moment it is due, it does not run', (t) => {
  const clock = new Clock();
  let ran = false;
  const first = clock.alarm(() => second.cancel());
  const second = clock.alarm(() => {
    ran = true;
  });
  first.at(5);
  second.at(5);
  clock.advanceTo(5);
  t.false(ran);
});

test('a deadline that has passed fires at the next step, and time does not go back', (t) => {
  const clock = new Clock();
  clock.advanceTo(100);
  let at = -1;
  clock
    .alarm(() => {
      at = clock.now;
    })
    .at(5);
  clock.settle();
  t.is(at, 100);
});

test('a storm of alarms without delay is bounded, and the clock stands where it stopped', (t) => {
  const clock = new Clock();
  const one: Alarm = clock.alarm(() => two.in(0));
  const two: Alarm = clock.alarm(() => one.in(0));
  one.at(7);
  t.is(clock.advanceTo(50, 1000), 1000);
  t.is(clock.now, 7);
  t.is(clock.advanceTo(50, 10), 10);
});

test('run jumps from alarm to alarm and stops at the last within its bound', (t) => {
  const clock = new Clock();
  let count = 0;
  const tick = clock.alarm(() => {
    count++;
    tick.in(1000);
  });
  tick.in(1000);
  clock.run(4500);
  t.is(count, 4);
  t.is(clock.now, 4000);
});

test('whoever sleeps is told when the earliest deadline moves nearer, and only then', (t) => {
  const clock = new Clock();
  let told = 0;
  clock.onEarlier = () => told++;
  const alarms = [300, 100, 200].map((at) => {
    const alarm = clock.alarm(() => {});
    alarm.at(at);
    return alarm;
  });
  t.is(told, 2);
  alarms[2]!.at(50);
  t.is(told, 3);
});

test('an alarm saved and restored on another clock has as long to go', (t) => {
  const clock = new Clock();
  clock.advanceTo(1000);
  const alarm = clock.alarm(() => {});
  t.is(alarm.save(), -1);
  alarm.at(1600);
  const other = new Clock();
  other.advanceTo(5);
  const copy = other.alarm(() => {});
  copy.restore(alarm.save());
  t.is(other.next, 605);
  copy.restore(-1);
  t.is(other.next, Infinity);
});

test('property: any mix of scheduling and cancelling runs as a sorted list does', (t) => {
  const step = fc.record({ alarm: fc.nat(9), at: fc.option(fc.nat(50)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new Clock();
      const ran: [number, number][] = [];
      const alarms = Array.from({ length: 10 }, (_, i) => clock.alarm(() => ran.push([clock.now, i])));
      const plan = new Map<number, number>();
      for (const { alarm, at } of steps) {
        if (at === null) {
          alarms[alarm]!.cancel();
          plan.delete(alarm);
        } else {
          alarms[alarm]!.at(at);
          plan.set(alarm, at);
        }
      }
      clock.advanceTo(50);
      const expected = [...plan]
        .map(([i, at]) => [at, i] as [number, number])
        .sort((x, y) => x[0] - y[0] || x[1] - y[1]);
      t.deepEqual(ran, expected);
    }),
  );
});
