/** What the cards under the netdev spec have not, and why: the spec skips it with these words, and looks that it is so. */
import type { Lacks } from './netdev.ts';

const ONE_QUEUE = 'the driver has one queue in use';

const I8254X: Lacks = {
  'several queues': 'the 8254x has one queue each way (317453 §3.2, §3.4)',
  RSS: 'the 8254x has one receive queue',
  'TSO over IPv6': 'as Linux’s e1000 has it, from the 82547 on',
};

const BCM575X: Lacks = {
  'several queues': 'the 575x returns frames by one ring (5722-PG101-R)',
  RSS: 'the 575x returns frames by one ring',
  'jumbo frames': 'the 575x has no jumbo ring',
  'TSO over IPv6': 'the 575x segments IPv4 alone',
};

const LACKS: Readonly<Record<string, Lacks>> = {
  '82540EM': I8254X,
  '82545EM': I8254X,
  '82574L': { 'several queues': ONE_QUEUE, RSS: ONE_QUEUE },
  BCM5721: BCM575X,
  BCM5751: BCM575X,
};

/** Of a card, by the name of its part, as it is driven with so many queues. */
export function lacksOf(part: string, queues = 1): Lacks {
  return LACKS[part] ?? (queues > 1 ? {} : { 'several queues': ONE_QUEUE, RSS: ONE_QUEUE });
}

export const NO_CABLE: Lacks = { cable: 'the bench cannot pull its cable' };
