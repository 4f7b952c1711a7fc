// Real-time signals, which `process.on` does not support: they kill a Node process. Node's own libuv can deliver them on the
// event loop like the others; it is called through node:ffi.

import { withoutExperimentalWarning } from "../libc.ts";
import { firstRealTimeSignal, lastRealTimeSignal } from "../signal-table.ts";

/** UV_SIGNAL of uv_handle_type. */
const signalHandle = 16;

/** Memory to which libuv has pointers. */
const pointedTo: unknown[] = [];

/**
 * From now on calls `receive` with the number of each real-time signal, until the process ends.
 * @returns false where this runtime has no `node:ffi`.
 */
export function catchRealTimeSignals(receive: (number: number) => void): boolean {
  const ffi = withoutExperimentalWarning(() => process.getBuiltinModule("node:ffi"));
  if (ffi === undefined) return false;
  const { functions: uv, lib } = ffi.dlopen(null, {
    uv_handle_size: { arguments: ["int32"], return: "uint64" },
    uv_signal_init: { arguments: ["pointer", "buffer"], return: "int32" },
    uv_signal_start: { arguments: ["buffer", "pointer", "int32"], return: "int32" },
  });
  const callback = lib.registerCallback(
    { arguments: ["pointer", "int32"], return: "void" },
    (_handle, number) => receive(number),
  );
  const loop = ffi.getCurrentEventLoop();
  const size = Number(uv.uv_handle_size(signalHandle));
  for (let number = firstRealTimeSignal; number <= lastRealTimeSignal; number++) {
    const handle = new Uint8Array(new ArrayBuffer(size));
    pointedTo.push(handle);
    uv.uv_signal_init(loop, handle);
    // musl reserves its first one, and refuses it.
    uv.uv_signal_start(handle, callback, number);
  }
  pointedTo.push(lib);
  return true;
}
