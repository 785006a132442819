import { astVisitor, parse, type Statement as Ast } from 'pgsql-ast-parser';

/** The oracle: verb, real tables, and columns compared with `=` to a value in the outermost WHERE. */
export function byParser(sql: string): {
  readonly verb: string;
  readonly tables: readonly string[];
  readonly keyColumns: readonly string[];
} {
  const statement = parse(sql)[0] as Ast;
  const tables = new Set<string>();
  const common = new Set<string>();
  const add = (name: { readonly name: string; readonly schema?: string }): void =>
    void tables.add((name.schema === undefined ? name.name : `${name.schema}.${name.name}`).toLowerCase());
  astVisitor((visit) => ({
    with: (node) => {
      for (const bind of node.bind) common.add(bind.alias.name.toLowerCase());
      visit.super().with(node);
    },
    tableRef: (node) => {
      add(node);
      visit.super().tableRef(node);
    },
    insert: (node) => {
      add(node.into);
      visit.super().insert(node);
    },
    update: (node) => {
      add(node.table);
      visit.super().update(node);
    },
    delete: (node) => {
      add(node.from);
      visit.super().delete(node);
    },
  })).statement(statement);
  const body = statement.type === 'with' ? statement.in : statement;
  const columns = new Set<string>();
  const collect = (expression: unknown): void => {
    if (typeof expression !== 'object' || expression === null || !('type' in expression) || expression.type !== 'binary') return;
    const { op, left, right } = expression as unknown as {
      op: string;
      left: { type: string; name?: string };
      right: { type: string; name?: string };
    };
    if (op === 'AND') {
      collect(left);
      collect(right);
    } else if (op === '=' && left.type === 'list') {
      const { expressions } = left as unknown as { expressions: { type: string; name?: string }[] };
      for (const one of expressions) if (one.type === 'ref') columns.add((one.name ?? '').toLowerCase());
    } else if (op === '=') {
      if (left.type === 'ref' && right.type !== 'ref') columns.add((left.name ?? '').toLowerCase());
      else if (right.type === 'ref' && left.type !== 'ref' && left.type !== 'call') columns.add((right.name ?? '').toLowerCase());
    }
  };
  if ('where' in body) collect(body.where);
  return { verb: body.type, tables: [...tables].filter((table) => !common.has(table)).toSorted(), keyColumns: [...columns].toSorted() };
}
