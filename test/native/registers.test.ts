/** A device's registers, and memory in huge pages, with memory that stands for a device. */
import { closeSync, ftruncateSync } from 'node:fs';
import t from 'tap';
import { mapHuge } from '../../drivers/backends/huge-pages.ts';
import { createMemfd, hasType1, mapInContainer, mapMemory, mapRegisters } from '../../native/index.ts';

const PAGE = 4096;

void t.test('accesses of each width go where they should', async (t) => {
  const fd = createMemfd('registers', 2 * PAGE);
  const words = new Uint32Array(mapMemory(fd, { offset: PAGE, length: PAGE }).buffer);
  const registers = mapRegisters(fd, { offset: PAGE, length: PAGE });
  closeSync(fd);
  registers.write32(8, 0x87654321);
  t.equal(words[2], 0x87654321);
  t.equal(registers.read32(8), 0x87654321);
  t.equal(registers.read16(10), 0x8765);
  t.equal(registers.read8(9), 0x43);
  registers.write16(10, 0xabcd);
  registers.write8(8, 0xff);
  t.equal(words[2], 0xabcd43ff);
  for (const offset of [-4, 2, PAGE, PAGE - 2, 0.5, Number.NaN])
    t.throws(() => registers.read32(offset), { code: 'EINVAL' }, String(offset));
  registers.close();
  registers.close();
  t.throws(() => registers.read32(0), { code: 'CLOSED' });
  t.throws(() => registers.write8(0, 1), { code: 'CLOSED' });
});

void t.test('what cannot be registers is refused', async (t) => {
  const fd = createMemfd('registers', PAGE);
  t.teardown(() => closeSync(fd));
  t.throws(() => mapRegisters(-1, { length: PAGE }), { code: 'EINVAL' });
  t.throws(() => mapRegisters(fd, { length: 0 }), { code: 'EINVAL' });
  t.throws(() => mapRegisters(fd, { offset: -PAGE, length: PAGE }), { code: 'EINVAL' });
  t.throws(() => mapRegisters(fd, { offset: 100, length: PAGE }), {
    code: 'EINVAL',
    message: /mmap failed with EINVAL/,
  });
});

void t.test('registers of a card that has gone read as all ones', async (t) => {
  const fd = createMemfd('registers', 2 * PAGE);
  const registers = mapRegisters(fd, { length: 2 * PAGE });
  ftruncateSync(fd, 0);
  closeSync(fd);
  t.equal(registers.read32(PAGE), 0xffffffff);
  t.equal(registers.read16(0), 0xffff);
  registers.write32(0, 5);
  registers.close();
});

void t.test('VFIO is asked of VFIO only', async (t) => {
  const fd = createMemfd('no container', PAGE);
  t.teardown(() => closeSync(fd));
  t.throws(() => hasType1(fd), { code: 'ENOTTY' });
  const { buffer } = mapMemory(fd, { length: PAGE });
  t.throws(() => mapInContainer(fd, buffer, PAGE, 0), { code: 'ENOTTY' });
  t.throws(() => mapInContainer(fd, buffer, PAGE + 1, 0), { code: 'EINVAL', message: /the buffer has 4096/ });
  t.throws(() => mapInContainer(fd, buffer, PAGE, 2 ** 32), { code: 'EINVAL', message: /below 2\^32/ });
});

void t.test('huge pages: all of them or none', async (t) => {
  t.throws(() => createMemfd('odd', PAGE, { huge: true }), { code: 'EINVAL', message: /a multiple of 2097152/ });
  t.equal(mapHuge(2 ** 31), null, 'a machine for tests keeps no 1024 of them free');
});
