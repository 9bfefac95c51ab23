import {defineConfig} from 'vitest/config';

const objectStoreTests = ['test/live/s3*.test.ts'];
const clusterTemplate = 'test/support/cluster-template-setup.ts';

/**
 * One project per ring: unit needs nothing, scenario needs dist, live needs PostgreSQL's programs, container a Docker
 * engine and the images of script/images.
 */
export default defineConfig({
  test: {
    projects: [
      {test: {name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 60_000}},
      {test: {name: 'scenario', include: ['test/scenario/**/*.test.ts'], testTimeout: 60_000}},
      {
        test: {
          name: 'live',
          include: ['test/live/**/*.test.ts'],
          exclude: objectStoreTests,
          globalSetup: clusterTemplate,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: 'live-store',
          include: objectStoreTests,
          globalSetup: [clusterTemplate, 'test/support/radosgw-setup.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: 'container',
          include: ['test/container/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 3,
        },
      },
    ],
  },
});
