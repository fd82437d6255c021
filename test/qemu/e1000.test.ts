/** The e1000 driver on QEMU's e1000. */
import { qemuOrSkip, specOnQemu } from '../util/qemu-lane.ts';

specOnQemu(await qemuOrSkip(), 'e1000', ['intx']);
