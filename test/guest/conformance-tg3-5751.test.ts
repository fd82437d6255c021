import { conforms } from './conformance.ts';

await conforms('tg3-5751');
