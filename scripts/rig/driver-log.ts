import { labelled } from '../terminal/print.ts';

/** What a driver says of its steps, to whoever listens at the time. */
export class DriverLog {
  #listener: (line: string) => void;

  constructor(listener: (line: string) => void) {
    this.#listener = listener;
  }

  readonly add = (line: string): void => this.#listener(line);

  listen(listener: (line: string) => void): void {
    this.#listener = listener;
  }
}

/** Shows the steps of the bring-up as they are taken. */
export function bringUpLines(): (line: string) => void {
  let label = 'bring-up';
  return (line) => {
    console.log(labelled(label, line));
    label = '';
  };
}
