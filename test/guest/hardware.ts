/**
 * The card in the slot, without a card: in a guest whose machine has an IOMMU, QEMU's e1000e and a model of ours that is
 * served to it are hardware, behind the kernel's own VFIO. The netdev spec runs there, on the Node of this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap, { type Test } from 'tap';
import { runGuest } from '../../vm/guest.ts';
import { WITH_US } from '../../vm/run.ts';
import { HOST_MODULES, IOMMU, MOUNT_HOST, ON_HOST, SHARE_HOST, VFIO_MODULES } from '../util/host-in-guest.ts';
import { until } from '../util/until.ts';
import { parts as partsWith } from './parts.ts';

const MODULES = [...HOST_MODULES, 'virtio_console', ...VFIO_MODULES, 'e1000e', 'e1000', 'tg3'];
const parts = await partsWith(MODULES);
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export interface Card {
  /** Its slot on the guest's root bus. */
  readonly slot: number;
  readonly mode: 'msix' | 'msi' | 'intx';
  /** This model of ours, served; else QEMU's e1000e. */
  readonly model?: string;
  /** Only what has to do with interrupts. */
  readonly brief?: true;
}

const script = (words: readonly string[]) => `
set -e
${MOUNT_HOST}
exec ${ON_HOST} ${words.join(' ')} > /dev/results 2>&1`;

/** One test: these cards in a guest, with or without an IOMMU in front of them. */
export function judge(name: string, cards: readonly Card[], { iommu }: { readonly iommu: boolean }): void {
  void tap.test(name, async (t) => await judgeIn(t, cards, iommu));
}

async function judgeIn(t: Test, cards: readonly Card[], iommu: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-vfio-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const arguments_ = [...(iommu ? IOMMU : []), ...SHARE_HOST, '-device', 'virtio-serial-pci'];
  for (const card of cards) arguments_.push(...(await plug(t, folder, card)));
  const targets = cards.map(({ slot, mode, brief }) => {
    return `0000:00:${slot.toString(16)}.0,${mode},wire.${slot}${brief ? ',brief' : ''}`;
  });
  const result = await runGuest({
    ...parts,
    command: [script([process.execPath, here('inside.js'), ...targets])],
    memory: 1024,
    append: [...(iommu ? ['intel_iommu=on'] : []), `hugepages=${16 * cards.length + 32}`],
    qemuArguments: arguments_,
  });
  if (result.exitCode !== 0) t.comment(result.results.slice(-2000) || result.console.slice(-2000));
  t.equal(result.exitCode, 0, 'it ran to its end');
  passOn(t, result.results);
}

/** QEMU's arguments for a card whose wire ends in a virtio port. */
async function plug(t: Test, folder: string, { slot, model }: Card): Promise<string[]> {
  const wire = join(folder, `wire${slot}`);
  const port = ['-device', `virtserialport,chardev=wire${slot},name=wire.${slot}`];
  if (model === undefined)
    return [
      ...['-chardev', `socket,id=wire${slot},path=${wire},server=on,wait=off`, ...port],
      ...['-netdev', `stream,id=n${slot},server=off,addr.type=unix,addr.path=${wire}`],
      ...['-device', `e1000e,netdev=n${slot},addr=0x${slot.toString(16)},mac=52:54:00:00:00:${slot},romfile=`],
    ];
  const socket = join(folder, `card${slot}`);
  const [supervisor, ...command] = [
    ...WITH_US,
    process.execPath,
    here('../../scripts/fauxnic.js'),
    ...serve(model, socket, wire),
  ];
  const server = spawn(supervisor!, command, { stdio: 'ignore' });
  t.teardown(() => stop(server));
  await there(t, server, [socket, wire]);
  const device = { driver: 'vfio-user-pci', socket: { path: socket, type: 'unix' }, addr: `0x${slot.toString(16)}` };
  return ['-chardev', `socket,id=wire${slot},path=${wire}`, ...port, '-device', JSON.stringify(device)];
}

const serve = (model: string, socket: string, wire: string) => {
  return ['serve', model, '--socket', socket, '--peer', `stream=${wire}`];
};

async function there(t: Test, server: ChildProcess, paths: readonly string[]): Promise<void> {
  await until(() => server.exitCode !== null || paths.every(existsSync), 'the served model');
  if (server.exitCode !== null) t.bailout('the model is not served');
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill();
  await ended;
}

/** What was judged inside, as assertions of the test outside. */
function passOn(t: Test, results: string): void {
  const plan = /^1\.\.(\d+)$/m.exec(results)?.[1];
  const lines = results.split(/\r?\n/);
  let passed = 0;
  for (const [at, line] of lines.entries()) {
    const [, not, name] = /^(not )?ok \d+ - (.*?)(?: # time=.*)?$/.exec(line) ?? [];
    if (name === undefined) continue;
    passed++;
    if (not === undefined) t.pass(name);
    else t.fail(name, { said: lines.slice(at + 3, lines.indexOf('  ...', at)).join('\n') });
  }
  t.equal(String(passed), plan, 'all of it was judged');
  t.ok(passed >= 8, 'and there was something to judge');
}
