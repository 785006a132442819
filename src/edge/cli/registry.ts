import { registerAgent } from './agent.ts';
import { registerAudit } from './audit.ts';
import { registerCertificate } from './certificate.ts';
import { registerCheck } from './check.ts';
import { registerDebt } from './debt.ts';
import { registerStructure } from './structure.ts';
import { registerDiff } from './diff.ts';
import { registerDoctor } from './doctor.ts';
import { registerForecast } from './forecast.ts';
import { registerOutcomes } from './outcomes.ts';
import { registerPolicy } from './policy.ts';
import type { RegisterCommand } from './program.ts';
import { registerProposals } from './proposals.ts';
import { registerQuorum } from './quorum.ts';
import { registerRepair } from './repair.ts';
import { registerRepairs } from './repairs.ts';
import { registerSuggest } from './suggest.ts';

/** The commands that live under edge, in the order that --help lists them. `start` and `demo` are registered by root files. */
export const commands: readonly RegisterCommand[] = [
  registerDoctor,
  registerCheck,
  registerDiff,
  registerRepair,
  registerProposals,
  registerRepairs,
  registerForecast,
  registerSuggest,
  registerQuorum,
  registerPolicy,
  registerAgent,
  registerAudit,
  registerCertificate,
  registerDebt,
  registerStructure,
  registerOutcomes,
];
