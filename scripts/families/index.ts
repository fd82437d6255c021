import { E1000_FAMILY } from './e1000/index.ts';
import type { Family } from './family.ts';
import { TG3_FAMILY } from './tg3/index.ts';

/** Those here; modules named on the command line add theirs (plugin.ts). */
export const FAMILIES: Family[] = [E1000_FAMILY, TG3_FAMILY];
