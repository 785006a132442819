import { z } from 'zod';
import type { Route } from './route.ts';

const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string(), rule: z.string().optional() }) });

/** OpenAPI 3.1 of the routes, from the schemas that check their input. */
export function openApiOf(routes: readonly Route[], version: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const parameters = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => ({
      name: match[1],
      in: 'path',
      required: true,
      schema: { type: 'string' },
    }));
    const answers =
      route.answer === undefined
        ? { description: 'done' }
        : { description: 'done', content: { 'application/json': { schema: jsonSchema(route.answer, 'output') } } };
    (paths[route.path] ??= {})[route.method.toLowerCase()] = {
      summary: route.says,
      operationId: `${route.method.toLowerCase()}_${route.path
        .replace(/^\/api\/v1\//, '')
        .replace(/[^a-z]+/gi, '_')
        .replace(/_$/, '')}`,
      description: `Needs the role ${route.need}.`,
      parameters: [...parameters, ...queryParameters(route.query)],
      ...(route.body === undefined
        ? {}
        : { requestBody: { required: true, content: { 'application/json': { schema: jsonSchema(route.body, 'input') } } } }),
      responses: {
        200: answers,
        ...Object.fromEntries(
          (route.method === 'POST' ? [400, 401, 403, 404, 409, 422] : [400, 401, 403, 404]).map((status) => [
            status,
            { $ref: '#/components/responses/error' },
          ]),
        ),
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Homeostat',
      version,
      description:
        'Lists are newest first; pass `nextCursor` back as `cursor`. A wrong effect digest is 409 and changes nothing; what is not allowed is 403 with its rule.',
    },
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token file under the data directory, or one of `people` in the config.',
        },
      },
      responses: {
        error: {
          description: 'One sentence that says what to do.',
          content: { 'application/json': { schema: jsonSchema(errorSchema, 'output') } },
        },
      },
    },
  };
}

function queryParameters(query: z.ZodType | undefined): readonly unknown[] {
  if (query === undefined) return [];
  const schema = jsonSchema(query, 'input') as {
    readonly properties?: Readonly<Record<string, { readonly description?: string }>>;
    readonly required?: readonly string[];
  };
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    in: 'query',
    required: schema.required?.includes(name) ?? false,
    schema: property,
    ...(property.description === undefined ? {} : { description: property.description }),
  }));
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
