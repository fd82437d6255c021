/** One benchmark, by name, in this process; its results as JSON. */
import '../../drivers/tune.ts';
import type { Result } from './result.ts';

const { bench } = (await import(`./${process.argv[2]}.js`)) as { bench(): Promise<Result[]> };
console.log(JSON.stringify(await bench()));
