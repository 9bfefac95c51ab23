import {defineConfig} from 'vitest/config';

/** One project per ring: unit needs nothing, scenario needs dist, live needs PostgreSQL's programs. */
export default defineConfig({
  test: {
    projects: [
      {test: {name: 'unit', include: ['test/unit/**/*.test.ts']}},
      {test: {name: 'scenario', include: ['test/scenario/**/*.test.ts'], testTimeout: 60_000}},
      {
        test: {
          name: 'live',
          include: ['test/live/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
    ],
  },
});
