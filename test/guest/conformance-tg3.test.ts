import { conforms } from './conformance.ts';

await conforms('tg3');
