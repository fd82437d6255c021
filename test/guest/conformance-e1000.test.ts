import { conforms } from './conformance.ts';

await conforms('e1000');
