/** What a kernel module says of itself: strings "name=value", each ended by a zero, in its section .modinfo (ELF). */

export function moduleDependencies(module: Uint8Array): string[] {
  const info = moduleInfo(module);
  const hard = (info.get('depends') ?? []).flatMap((list) => list.split(','));
  const before = (info.get('softdep') ?? []).flatMap(
    (text) => /pre: ([^:]*?)(?: post:|$)/.exec(text)?.[1]?.split(' ') ?? [],
  );
  // A soft one may be a kind ("crypto-sha256") rather than a module.
  return [...hard, ...before.filter((name) => !name.startsWith('crypto-'))].filter(Boolean);
}

export function moduleInfo(module: Uint8Array): Map<string, string[]> {
  const info = new Map<string, string[]>();
  for (const line of new TextDecoder('latin1').decode(section(module, '.modinfo')).split('\0')) {
    const at = line.indexOf('=');
    if (at < 0) continue;
    const name = line.slice(0, at);
    info.set(name, [...(info.get(name) ?? []), line.slice(at + 1)]);
  }
  return info;
}

/** Of a 64-bit little-endian ELF file; empty where there is none. */
function section(elf: Uint8Array, wanted: string): Uint8Array {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  if (elf.length < 64 || view.getUint32(0) !== 0x7f454c46 || elf[4] !== 2) return new Uint8Array();
  const table = Number(view.getBigUint64(0x28, true));
  const [size, count, namesIndex] = [0x3a, 0x3c, 0x3e].map((at) => view.getUint16(at, true)) as [
    number,
    number,
    number,
  ];
  const place = (index: number) => {
    const header = table + index * size;
    const offset = Number(view.getBigUint64(header + 0x18, true));
    return elf.subarray(offset, offset + Number(view.getBigUint64(header + 0x20, true)));
  };
  const names = place(namesIndex);
  for (let i = 0; i < count; i++) {
    const start = view.getUint32(table + i * size, true);
    const name = names.subarray(start, names.indexOf(0, start));
    if (new TextDecoder().decode(name) === wanted) return place(i);
  }
  return new Uint8Array();
}
