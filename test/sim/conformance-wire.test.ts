/** The conformance tests' eye on the wire: what it takes for a wrong checksum. */
import test from 'ava';
import fc from 'fast-check';
import { Wire } from '../../scripts/conformance/wire.ts';
import { Clock } from '../../sim/clock.ts';
import { HostPort, Link } from '../../sim/wire/index.ts';
import { expected, requests } from '../util/super-frames.ts';

test('right segments are right, behind source routes and routing headers as well; a byte off is wrong', (t) => {
  const link = new Link(new Clock());
  const [card, peer] = [new HostPort('card'), new HostPort('peer', { onFrame: () => {} })];
  link.plug(card);
  link.plug(peer);
  const wire = new Wire(card, peer, () => {});
  let routed = 0;
  const property = fc.property(requests, (request) => {
    wire.clear();
    for (const frame of expected({ ...request, payload: Math.min(request.payload, 4000) })) card.send(frame);
    const { segments, badChecksums } = wire.fromCard;
    if (segments > 0 && request.parts.some(({ final }) => final !== undefined)) routed++;
    if (badChecksums > 0) return false;
    const [frame] = expected({ ...request, payload: 40, mss: 0 });
    frame![frame!.length - 41]! ^= 1; // of TCP's header
    card.send(frame!);
    return wire.fromCard.badChecksums === wire.fromCard.segments - segments;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 500 }));
  t.true(routed > 50, `${routed} behind a route`);
});
