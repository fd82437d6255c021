/** An initramfs archive: cpio's "newc" format, as Documentation/driver-api/early-userspace/buffer-format.rst has it. */

const DIRECTORY = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;
const TRAILER = 'TRAILER!!!';

export class Cpio {
  readonly #chunks: Uint8Array[] = [];
  readonly #folders = new Set<string>();
  #inode = 0;

  /** With the folders above it. */
  folder(path: string): this {
    const parts = path.split('/').filter(Boolean);
    for (let i = 1; i <= parts.length; i++) {
      const part = parts.slice(0, i).join('/');
      if (this.#folders.has(part)) continue;
      this.#folders.add(part);
      this.#entry(part, DIRECTORY | 0o755, new Uint8Array());
    }
    return this;
  }

  file(path: string, content: Uint8Array | string, mode = 0o644): this {
    return this.#add(path, FILE | mode, content);
  }

  link(path: string, target: string): this {
    return this.#add(path, LINK | 0o777, target);
  }

  finish(): Uint8Array {
    this.#entry(TRAILER, 0, new Uint8Array());
    return Buffer.concat(this.#chunks);
  }

  #add(path: string, mode: number, content: Uint8Array | string): this {
    this.folder(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
    this.#entry(path.replace(/^\/+/, ''), mode, typeof content === 'string' ? Buffer.from(content) : content);
    return this;
  }

  /** Times are zero, so that the same content makes the same archive. */
  #entry(name: string, mode: number, content: Uint8Array): void {
    const bytes = Buffer.from(`${name}\0`);
    const links = name === TRAILER ? 1 : (mode & 0o170000) === DIRECTORY ? 2 : 1;
    const inode = name === TRAILER ? 0 : ++this.#inode;
    const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, bytes.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    this.#padded(Buffer.concat([Buffer.from(header), bytes]));
    this.#padded(content);
  }

  #padded(chunk: Uint8Array): void {
    this.#chunks.push(chunk, new Uint8Array(-chunk.length & 3));
  }
}
