/** Where the driver says how far it is. */
import { run } from '../../registers.ts';
import { block } from './block.ts';

export const MAILBOXES = block('Mailboxes', {
  MBOX_HIGH: {
    at: [run(0x0200, 64, 8)],
    access: 'RW',
    title: 'high words of the mailboxes: ignored',
    aliases: [0x5800],
  },
  MBOX_INTERRUPT: {
    at: [run(0x0204, 5, 8)],
    access: 'RW',
    title: 'one a vector: in the ISR, masked, and the tag of the last status block seen',
    aliases: [0x5804],
    live: true,
    fields: { IN_ISR: [23, 0], TAG: [31, 24] },
  },
  MBOX_GENERAL: {
    at: [run(0x022c, 7, 8)],
    access: 'RW',
    title: 'for whatever driver and firmware agree on',
    aliases: [0x582c],
  },
  MBOX_RELOAD_STAT: {
    at: 0x0264,
    access: 'RW',
    title: 'tells the card to load its statistics from memory',
    aliases: [0x5864],
  },
  MBOX_STD_PROD: {
    at: 0x026c,
    access: 'RW',
    title: 'standard receive ring producer',
    aliases: [0x586c],
    live: true,
    fields: { INDEX: [10, 0] },
  },
  MBOX_JUMBO_PROD: {
    at: 0x0274,
    access: 'RW',
    title: 'jumbo receive ring producer',
    aliases: [0x5874],
    live: true,
    fields: { INDEX: [10, 0] },
  },
  MBOX_MINI_PROD: {
    at: 0x027c,
    access: 'RW',
    title: 'mini receive ring producer',
    aliases: [0x587c],
    fields: { INDEX: [10, 0] },
  },
  MBOX_RET_CON: {
    at: [run(0x0284, 16, 8)],
    access: 'RW',
    title: 'receive return ring consumers',
    aliases: [0x5884],
    live: true,
    fields: { INDEX: [10, 0] },
  },
  MBOX_SEND_PROD: {
    at: [run(0x0304, 16, 8)],
    access: 'RW',
    title: 'send ring producers, host rings',
    aliases: [0x5904],
    live: true,
    fields: { INDEX: [10, 0] },
  },
  MBOX_SEND_NIC_PROD: {
    at: [run(0x0384, 16, 8)],
    access: 'RW',
    title: 'send ring producers, NIC rings',
    aliases: [0x5984],
    fields: { INDEX: [10, 0] },
  },
});
