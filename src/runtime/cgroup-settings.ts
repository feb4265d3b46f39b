import { statSync } from "node:fs";
import type { SandboxDevice, SandboxLimits } from "./types.js";

interface Line {
  readonly file: string;
  readonly value: string;
  /** True: where the kernel has no such file, nothing is lost. */
  readonly mayLack: boolean;
}

/** One limit as what is written to the files of a new cgroup, in order, in either version. */
export interface Setting {
  readonly controller: "memory" | "cpu" | "pids" | "devices";
  /** What it does, as the middle of a sentence. */
  readonly told: string;
  /** False for a default, which may be missing. */
  readonly asked: boolean;
  readonly v1: readonly Line[];
  /** Empty where the new hierarchy has no such thing. */
  readonly v2: readonly Line[];
  readonly version?: 1 | 2;
}

/** The period of the processor quota, in microseconds. */
const PERIOD = 100_000;
const MEBIBYTE = 1024 * 1024;

/** All limits of a process that need a cgroup; `narrow`: the devices of which it may not do everything. */
export function settingsFor(limits: SandboxLimits, narrow: readonly SandboxDevice[]): readonly Setting[] {
  const { memoryBytes, cpus, pids } = limits;
  return [
    ...(memoryBytes === undefined ? [] : [memorySetting(memoryBytes, limits.memorySwapBytes)]),
    ...(cpus === undefined ? [] : [cpuSetting(cpus)]),
    ...(pids.limit <= 0 ? [] : [pidsSetting(pids)]),
    ...(narrow.length === 0 ? [] : [devicesSetting(narrow)]),
  ];
}

function line(file: string, value: number | string, mayLack = false): Line {
  return { file, value: String(value), mayLack };
}

/** As podman and docker: without a word of swap, as much of it again. */
function memorySetting(bytes: number, swapBytes: number | undefined): Setting {
  const both = swapBytes ?? 2 * bytes;
  const mayLack = swapBytes === undefined;
  const swap = both === -1 ? "max" : both - bytes;
  return {
    controller: "memory",
    told: `limit the memory to ${memoryText(bytes)}`,
    asked: true,
    v1: [line("memory.limit_in_bytes", bytes), line("memory.memsw.limit_in_bytes", both, mayLack)],
    v2: [line("memory.max", bytes), line("memory.swap.max", swap, mayLack)],
  };
}

/** `128 MiB`, or bytes. */
export function memoryText(bytes: number): string {
  return bytes % MEBIBYTE === 0 ? `${bytes / MEBIBYTE} MiB` : `${bytes} bytes`;
}

function cpuSetting(cpus: number): Setting {
  const quota = Math.round(cpus * PERIOD);
  return {
    controller: "cpu",
    told: `limit the processors to ${cpus}`,
    asked: true,
    v1: [line("cpu.cfs_period_us", PERIOD), line("cpu.cfs_quota_us", quota)],
    v2: [line("cpu.max", `${quota} ${PERIOD}`)],
  };
}

function pidsSetting({ limit, asked }: SandboxLimits["pids"]): Setting {
  const lines = [line("pids.max", limit)];
  return { controller: "pids", told: `limit the processes to ${limit}`, asked, v1: lines, v2: lines };
}

function missingOf(permissions: string): string {
  return "rwm"
    .split("")
    .filter((letter) => !permissions.includes(letter))
    .join("");
}

/** The new hierarchy asks a BPF program instead, which is not ours to load. */
function devicesSetting(devices: readonly SandboxDevice[]): Setting {
  return {
    controller: "devices",
    told: `give no more than some of read, write and mknod on ${devices.map(({ source }) => source).join(", ")}`,
    asked: true,
    v1: devices.map((device) => line("devices.deny", denial(device))),
    v2: [],
  };
}

function denial({ source, permissions }: SandboxDevice): string {
  const stat = statSync(source);
  const [major, minor] = [(stat.rdev >> 8) & 0xfff, (stat.rdev & 0xff) | ((stat.rdev >> 12) & 0xfff00)];
  return `${stat.isBlockDevice() ? "b" : "c"} ${major}:${minor} ${missingOf(permissions)}`;
}
