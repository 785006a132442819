/**
 * What a policy can speak of. Summaries only: a set of a thousand keys costs Cedar 3 ms, a number costs nothing.
 *
 *   Action::"repair"                 may this run at all, by people or not
 *   Action::"repair-automatically"   may it run without being asked about; its context is the same
 */
export const policySchema = `
entity Service;
entity Domain;
entity Collection in [Domain] {
  name: String,
  domain: String,
  consistency: String,
  risk: String,
  mode: String,
  regions: Set<String>,
  classes: Set<String>
};
type Repair = {
  rows: Long,
  inserts: Long,
  updates: Long,
  deletes: Long,
  replicas: Set<String>,
  regions: Set<String>,
  columns: Set<String>,
  classes: Set<String>,
  strategy: String,
  confidencePercent: Long,
  reversible: Bool,
  chosenBy: String,
  modelAgrees: Bool,
  rowsLastHour: Long,
  caseReturns: Long,
  verifiedBefore: Long,
  failedBefore: Long,
  hourUtc: Long,
  weekdayUtc: String
};
action "repair" appliesTo { principal: [Service], resource: [Collection], context: Repair };
action "repair-automatically" appliesTo { principal: [Service], resource: [Collection], context: Repair };
`;
