import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { type DetectReport, DetectStage, type DetectStageOptions, type SentBatch } from './detect-stage.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import type { FeaturePoint } from '../forecast/features.ts';
import type { TracedLook } from '../forecast/read-looks.ts';

/** To the thread. */
export type DetectRequest =
  | { readonly is: 'batches'; readonly batches: readonly SentBatch[] }
  /** Answered once all batches before it are taken and no more work is due. */
  | { readonly is: 'sync'; readonly id: number }
  | { readonly is: 'features'; readonly id: number; readonly nowMs: number }
  | { readonly is: 'looks'; readonly id: number }
  | { readonly is: 'legs'; readonly id: number };

/** From the thread. */
export type DetectAnswer =
  | { readonly is: 'report'; readonly report: DetectReport }
  | { readonly is: 'synced'; readonly id: number }
  | { readonly is: 'features'; readonly id: number; readonly points: readonly FeaturePoint[] }
  | { readonly is: 'looks'; readonly id: number; readonly looks: readonly TracedLook[] }
  | { readonly is: 'legs'; readonly id: number; readonly legs: readonly ClientLegs[] };

/** How long work goes on before messages are looked at. */
const turnMs = 20;
/** Reports are gathered for this long, so that small payloads do not each cost a message. */
const reportEveryMs = 50;
/** How often time moves on while no span comes: findings that wait for the end of a trace are due then. */
const tickMs = 250;

/** Nice value of this thread: where it shares a core with the receivers, whoever waits for an acknowledgement comes first. */
const niceness = 5;
try {
  setPriority(Number(basename(readlinkSync('/proc/thread-self'))), niceness);
} catch {
  // Only Linux gives a thread a priority of its own.
}

const port = parentPort;
if (port === null) throw new Error('this file is the entry of a worker thread');
const stage = new DetectStage(workerData as DetectStageOptions, systemClock);
const say = (answer: DetectAnswer): void => port.postMessage(answer);
/** Handed over and not taken yet; its sender keeps it within a bound. */
let inbox: SentBatch[] = [];
let syncs: number[] = [];
let isScheduled = false;
let reportTimer: NodeJS.Timeout | undefined;
let reportedAtMs = 0;

const report = (): void => {
  clearTimeout(reportTimer);
  reportTimer = undefined;
  reportedAtMs = performance.now();
  say({ is: 'report', report: stage.report() });
};

const work = (): void => {
  isScheduled = false;
  let taken = 0;
  while (taken < inbox.length && stage.hasRoom) stage.take(inbox[taken++] as SentBatch);
  inbox = inbox.slice(taken);
  const isMore = stage.work(turnMs) || inbox.length > 0;
  if (isMore) schedule();
  const waitMs = reportEveryMs - (performance.now() - reportedAtMs);
  if (waitMs <= 0 || (syncs.length > 0 && !isMore)) report();
  else reportTimer ??= setTimeout(report, waitMs);
  if (isMore) return;
  for (const id of syncs) say({ is: 'synced', id });
  syncs = [];
};

const schedule = (): void => {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(work);
};

port.on('message', (request: DetectRequest) => {
  switch (request.is) {
    case 'batches':
      for (const batch of request.batches) inbox.push(batch);
      break;
    case 'sync':
      syncs.push(request.id);
      break;
    case 'features':
      say({ is: 'features', id: request.id, points: stage.drainFeatures(request.nowMs) });
      return;
    case 'looks':
      say({ is: 'looks', id: request.id, looks: stage.drainLooks() });
      return;
    case 'legs':
      say({ is: 'legs', id: request.id, legs: stage.drainLegs() });
      return;
  }
  schedule();
});
setInterval(schedule, tickMs);
