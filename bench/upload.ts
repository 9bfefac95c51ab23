import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import artifacts from '@actions/artifact';

// What uploading the files of a backup costs by itself: the stock client, all files side by side.
const [, , directory = '', prefix = ''] = process.argv;
process.env.ACTIONS_ARTIFACT_UPLOAD_CONCURRENCY ??= '16';
await Promise.all(
  readdirSync(directory).map((file) =>
    artifacts.uploadArtifact(`${prefix}.${file}`, [join(directory, file)], directory, {skipArchive: true}),
  ),
);
