/** What the pages of the registries show. */
export const description = `# pg-entrypoint

\`entrypoint\` replaces the \`entrypoint.sh\` of a Python application's image. It waits for PostgreSQL, runs Alembic's migrations only when something is pending, once, under an advisory lock, verifies the result, and then becomes the application by \`exec\`.

\`\`\`dockerfile
CMD ["entrypoint"]
\`\`\`

starts \`uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2\`, or the application that \`ENTRYPOINT_APP\` names. \`DATABASE_URL\` names the database. \`entrypoint --help\` lists the commands and the settings.

The package is called pg-entrypoint, the command entrypoint. The wheel holds one program, which is Node.js with this project's code, and no Python module. The npm package holds the same code without Node.js.
`;
