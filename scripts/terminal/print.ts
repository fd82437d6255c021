import { dim, padEnd, paint } from './style.ts';

const LABEL = 10;

/** `name     text`, as every report here is laid out. */
export const labelled = (label: string, text: string) => `  ${dim(padEnd(label, LABEL))} ${text}`;

export const done = (label: string, text: string) => `${paint('green', '✓')} ${padEnd(label, LABEL)} ${text}`;
export const failed = (label: string, text: string) => `${paint('red', '✗')} ${padEnd(label, LABEL)} ${text}`;
