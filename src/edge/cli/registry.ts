import type { CommandEntry } from './program.ts';

/**
 * The commands that live under edge, in the order that --help lists them; `start` and `demo` are added by the root. Each file is
 * loaded only when its command is run: together they take 175 MB and a second of processor time.
 */
export const commands: readonly CommandEntry[] = [
  {
    name: 'doctor',
    summary: 'check config, connections, permissions, clock skew and versions',
    load: async () => (await import('./doctor.ts')).registerDoctor,
  },
  {
    name: 'check',
    summary:
      'run the trace detectors over OTLP files (.json, .jsonl, .pb, each also .gz), no server needed; exit 0 nothing, 1 findings, 2 some input could not be read (the rest is checked)',
    load: async () => (await import('./check.ts')).registerCheck,
  },
  {
    name: 'diff',
    summary: 'compare the replicas of a collection once: the keys that differ, how, and in which columns',
    load: async () => (await import('./diff.ts')).registerDiff,
  },
  {
    name: 'repair',
    summary: 'print the effects that a strategy would run, as a proposal; nothing is written',
    load: async () => (await import('./repair.ts')).registerRepair,
  },
  {
    name: 'proposals',
    summary: 'the queue: what waits for people, and what became of it',
    load: async () => (await import('./proposals.ts')).registerProposals,
  },
  {
    name: 'repairs',
    summary: 'what was carried out, and undoing it',
    load: async () => (await import('./repairs.ts')).registerRepairs,
  },
  {
    name: 'forecast',
    summary: 'forecast series from CSV with quantiles; says whether the model or a baseline is served, and why',
    load: async () => (await import('./forecast.ts')).registerForecast,
  },
  {
    name: 'suggest',
    summary:
      'replay decisions over recorded load: what acting on forecasts would have cost, against the best tuned reactive rule and an oracle',
    load: async () => (await import('./suggest.ts')).registerSuggest,
  },
  {
    name: 'quorum',
    summary: 'how stale are quorum reads: P(fresh) and p99 for each (R, W) from measured latencies or traces, and the choice under an SLO',
    load: async () => (await import('./quorum.ts')).registerQuorum,
  },
  {
    name: 'policy',
    summary: 'check, explain or back-test policies (Cedar files, or a directory of them)',
    load: async () => (await import('./policy.ts')).registerPolicy,
  },
  {
    name: 'agent',
    summary: 'compute sketches of a replica in its own region, push them to the service, and execute there what was approved',
    load: async () => (await import('./agent.ts')).registerAgent,
  },
  {
    name: 'audit',
    summary: 'the hash chain of everything that was decided and done',
    load: async () => (await import('./audit.ts')).registerAudit,
  },
  {
    name: 'certificate',
    summary: 'print the certificate of one repair, signed, for audit verify',
    load: async () => (await import('./certificate.ts')).registerCertificate,
  },
  {
    name: 'debt',
    summary: 'the consistency-debt report: what unsafe paths have cost, and the cheapest repayments',
    load: async () => (await import('./debt.ts')).registerDebt,
  },
  {
    name: 'structure',
    summary: 'what was learned of the fleet from traces: outboxes, replica hosts, lag of topics, steps of sagas',
    load: async () => (await import('./structure.ts')).registerStructure,
  },
  {
    name: 'outcomes',
    summary: 'what became of proposals',
    load: async () => (await import('./outcomes.ts')).registerOutcomes,
  },
];
