import { setTimeout as delay } from 'node:timers/promises';
import { compareRegions, findWrongRows } from './compare-regions.ts';
import type { Approver } from './config-text.ts';
import type { Estate, Shop } from './estate.ts';
import type { Fault, FaultLog } from './fault-log.ts';
import type { FoundRepair, HomeostatApi } from './homeostat-api.ts';
import type { Injector } from './injector.ts';
import { judge } from './judge.ts';
import type { Traffic } from './traffic.ts';

/** The one JSON line of `demo --until-converged --json`. */
export interface Summary {
  /** Faults that had to be found, and how many were. */
  readonly injected: number;
  readonly found: number;
  readonly missed: number;
  /** Confirmed divergences and proven or structural findings that no fault explains. */
  readonly false: number;
  /** Rows repaired without asking, rows repaired after approval, rows whose repair was undone. */
  readonly autoRepaired: number;
  readonly approved: number;
  readonly undone: number;
  /** Rows whose repair was verified; 0 unless all were and the demo's own comparison finds the regions equal and right. */
  readonly verified: number;
  /** From the first fault until all was found, repaired and equal. */
  readonly secondsToConverge: number;
  readonly perKind: Readonly<Record<string, { readonly injected: number; readonly found: number }>>;
  /** Late change events, which must not be reported. */
  readonly decoys: number;
  readonly equal: boolean;
  /** Repairs without their record in the audit chain. */
  readonly unaudited: number;
  readonly problems: readonly string[];
}

export interface ConvergeOptions {
  readonly api: HomeostatApi;
  readonly approvers: readonly Approver[];
  readonly estate: Estate;
  readonly shop: Shop;
  readonly traffic: Traffic;
  readonly injector: Injector;
  readonly log: FaultLog;
  readonly run: string;
  readonly runStartedMs: number;
  readonly betweenFaultsMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

const pollEveryMs = 500;
/** After the last fault is repaired: time for a finding that should not be to show itself. */
const settleMs = 6_000;
const rounds = 1;
const injectAttempts = 5;
const atRest = new Set(['sealed', 'compensated', 'stale', 'failed']);

/**
 * Injects, approves what waits as two people, and waits until the service says that nothing is left; then stops the shop's
 * customers and looks for itself. The service's word alone never counts.
 */
export async function converge(options: ConvergeOptions): Promise<{ readonly summary: Summary; readonly isConverged: boolean }> {
  const { api, log, run, say, signal } = options;
  const begunMs = Date.now();
  const deadline = begunMs + options.timeoutMs;
  const approving = new AbortController();
  const approvals = approveUntil(options, approving.signal);

  for (const name of options.injector.plan(rounds)) {
    say(`fault: ${(await injectSurely(options, name)).what}`);
    await delay(options.betweenFaultsMs, undefined, { signal });
  }

  let problems: readonly string[] = [];
  let summary = await look(options, begunMs, []);
  let isQuiet = false;
  let settledAtMs: number | undefined;
  while (Date.now() < deadline) {
    signal.throwIfAborted();
    await delay(pollEveryMs, undefined, { signal });
    try {
      const open = await openWork(api);
      const view = await findings(options);
      problems = [...view.missed.map((id) => `not found: ${describe(log.faults, id)}`), ...open];
      if (problems.length > 0) {
        settledAtMs = undefined;
        continue;
      }
    } catch (error) {
      // The service restarts: ask again.
      problems = [error instanceof Error ? error.message : String(error)];
      continue;
    }
    if (!isQuiet) {
      say('Everything found and repaired, says the service: stopping the customers to look ourselves ...');
      await options.traffic.close();
      await options.shop.drain(AbortSignal.any([signal, AbortSignal.timeout(30_000)]));
      isQuiet = true;
    }
    const own = await compareRegions(options.estate.urls);
    if (!own.isEqual) {
      problems = own.different.slice(0, 20).map((row) => `still different: ${row}`);
      settledAtMs = undefined;
      continue;
    }
    settledAtMs ??= Date.now();
    if (Date.now() - settledAtMs < settleMs) continue;
    summary = await look(options, begunMs, [], settledAtMs);
    break;
  }
  approving.abort();
  await approvals;
  if (settledAtMs === undefined || Date.now() >= deadline) summary = await look(options, begunMs, problems);
  const isConverged =
    summary.missed === 0 && summary.false === 0 && summary.equal && summary.verified > 0 && summary.problems.length === 0 && run !== '';
  return { summary, isConverged };
}

/** A shop whose broker or database is busy may refuse; a fault that was planned is injected. */
async function injectSurely(options: ConvergeOptions, name: string): Promise<Fault> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await options.injector.inject(name);
    } catch (error) {
      if (attempt >= injectAttempts || options.signal.aborted) throw error;
      await delay(500, undefined, { signal: options.signal });
    }
  }
}

async function approveUntil(options: ConvergeOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for (const proposal of await options.api.proposals('waiting')) {
        for (const { name, token } of options.approvers) {
          if (signal.aborted) return;
          if (await options.api.approve(proposal, token))
            options.say(`${name} approved ${proposal.id}: ${proposal.collection}, ${proposal.rows} rows`);
        }
      }
    } catch {
      // The service restarts; what waits, waits.
    }
    await delay(pollEveryMs, undefined, { signal }).catch(() => undefined);
  }
}

/** What the service still has in hand, in words. */
async function openWork(api: HomeostatApi): Promise<readonly string[]> {
  const [waiting, planned, repairs, divergences] = await Promise.all([
    api.proposals('waiting'),
    api.proposals('planned'),
    api.repairs(),
    api.divergences(),
  ]);
  return [
    ...waiting.map((proposal) => `proposal ${proposal.id} waits`),
    ...planned.map((proposal) => `proposal ${proposal.id} is planned`),
    ...repairs.filter((repair) => !atRest.has(repair.state)).map((repair) => `repair ${repair.id} is ${repair.state}`),
    ...divergences.filter((divergence) => divergence.status === 'confirmed').map((divergence) => `divergence ${divergence.id} is open`),
  ];
}

async function findings(options: ConvergeOptions) {
  const [divergences, anomalies] = await Promise.all([options.api.divergences(), options.api.anomalies()]);
  return judge({ run: options.run, runStartedMs: options.runStartedMs, faults: options.log.faults, divergences, anomalies });
}

async function look(options: ConvergeOptions, begunMs: number, problems: readonly string[], endedMs = Date.now()): Promise<Summary> {
  const { api, log, run, runStartedMs } = options;
  const found = await findings(options);
  const repairs = (await api.repairs()).filter((repair) => repair.createdAtMs >= runStartedMs);
  const sealed = repairs.filter((repair) => repair.state === 'sealed');
  const own = await compareRegions(options.estate.urls);
  const mine = log.faults.filter((fault) => fault.run === run);
  const wanted = latestRows(mine);
  const wrong = await findWrongRows(options.estate.urls, wanted);
  const audited = new Set((await api.audit()).map((entry) => entry.subject));
  const unaudited = repairs.filter((repair) => !audited.has(repair.id) && !audited.has(repair.proposalId));
  const rows = (some: readonly FoundRepair[]): number => some.reduce((sum, repair) => sum + repair.rows, 0);
  const settled = repairs.filter((repair) => repair.state !== 'stale');
  const areAllVerified = settled.length > 0 && settled.every((repair) => repair.state === 'sealed');
  return {
    injected: found.injected,
    found: found.found,
    missed: found.missed.length,
    false: found.false.length,
    autoRepaired: rows(sealed.filter((repair) => repair.approvedBy.length === 0)),
    approved: rows(sealed.filter((repair) => repair.approvedBy.length > 0)),
    undone: rows(repairs.filter((repair) => repair.state === 'compensated')),
    verified: areAllVerified && own.isEqual && wrong.length === 0 && unaudited.length === 0 ? rows(sealed) : 0,
    secondsToConverge: Number(((endedMs - begunMs) / 1000).toFixed(1)),
    perKind: found.perKind,
    decoys: mine.filter((fault) => fault.kind === 'late-change').length,
    equal: own.isEqual,
    unaudited: unaudited.length,
    problems: [
      ...problems,
      ...found.false,
      ...own.different.slice(0, 20).map((row) => `different: ${row}`),
      ...wrong.slice(0, 20).map((row) => `wrong: ${row}`),
      ...repairs.filter((repair) => repair.state === 'failed').map((repair) => `repair ${repair.id} failed`),
    ],
  };
}

/** How each faulty row has to be in the end: as the last fault left it at its source. */
function latestRows(faults: readonly Fault[]): readonly { collection: string; key: string; row: Readonly<Record<string, string>> }[] {
  const rows = new Map<string, { collection: string; key: string; row: Readonly<Record<string, string>> }>();
  for (const fault of faults)
    for (const [key, row] of Object.entries(fault.rows)) rows.set(`${fault.collection}/${key}`, { collection: fault.collection, key, row });
  return Array.from(rows.values());
}

function describe(faults: readonly Fault[], id: string): string {
  return faults.find((fault) => fault.id === id)?.what ?? id;
}
