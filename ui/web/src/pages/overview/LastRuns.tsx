import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { runs } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Badge, Section, When } from "../../components/parts";
import { causeText, stepText } from "../../lib/runs";

export function LastRuns() {
  const query = useQuery(runs({}, 6));
  if (!query.data || query.data.items.length === 0) {
    return null;
  }
  return (
    <Section
      title="Last runs"
      more={
        <Link className="more" to="/runs">
          All runs
        </Link>
      }
    >
      <Table
        label="Last runs"
        items={query.data.items}
        id={(run) => run.id}
        columns={[
          {
            title: "Run",
            cell: (run) => (
              <Link to={`/runs/${run.id}`}>
                <span className="quiet num">#{run.id}</span> {stepText(run)}
              </Link>
            ),
          },
          { title: "State", tight: true, cell: (run) => <Badge state={run.state} /> },
          { title: "Where", cell: (run) => run.node ?? run.cluster ?? "–" },
          { title: "Because of", cell: (run) => <span className="quiet">{causeText(run.cause)}</span> },
          { title: "Began", tight: true, cell: (run) => <When at={run.created} /> },
        ]}
      />
    </Section>
  );
}
