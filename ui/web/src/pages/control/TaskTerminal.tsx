import { ActionIcon, Tooltip } from "@mantine/core";
import { Link } from "react-router";
import { api, must, type Schemas } from "../../api/client";
import { useMay } from "../../api/session";
import { sayProblem } from "../../app/toast";
import { Icon } from "../../components/Icon";
import { Badge } from "../../components/parts";
import { Terminal } from "../../components/Terminal";
import { hasEnded } from "../../lib/runs";
import { Took } from "./Took";

export type Task = Schemas["Task"];

export function TaskTerminal({ task, search }: { task: Task; search: string }) {
  const mayRun = useMay("operator");
  return (
    <Terminal
      task={task}
      search={search}
      head={
        <>
          <Link to={`/tasks/${task.id}`} style={{ fontWeight: 500 }}>
            {task.node ?? `task ${task.id}`}
          </Link>
          <Badge bare state={task.state} text={task.exit_code ? `exit ${task.exit_code}` : undefined} />
          <span className="quiet small">
            <Took begin={task.started} end={task.finished} />
          </span>
          {mayRun && !hasEnded(task.state) && (
            <Tooltip label="Cancel this task">
              <ActionIcon
                size={24}
                aria-label={`Cancel the task on ${task.node ?? task.id}`}
                disabled={task.cancel_requested}
                onClick={() =>
                  void must(api.POST("/api/v1/tasks/{id}/cancel", { params: { path: { id: task.id } } })).catch(
                    sayProblem,
                  )
                }
              >
                <Icon name="stop" size={13} />
              </ActionIcon>
            </Tooltip>
          )}
        </>
      }
      foot={task.reason ? <span>{task.reason}</span> : undefined}
    />
  );
}
