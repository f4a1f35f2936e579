package sample

// area is a part of the invented product, with the words that documents about it use.
type area struct {
	name, key      string
	things, faults []string
}

var areas = []area{
	{"billing", "BIL",
		[]string{"invoice export", "proration preview", "payment retry", "tax summary", "plan switcher", "credit note", "dunning mail", "usage meter"},
		[]string{"rounds to the wrong cent", "charges twice after a timeout", "ignores the billing address", "shows last month's rate", "drops the discount when the plan changes", "takes the customer's time zone for UTC"}},
	{"search", "SRC",
		[]string{"query parser", "result ranking", "saved search", "synonym list", "index refresh", "filter panel", "typo tolerance", "recent searches"},
		[]string{"misses documents created today", "ranks archived pages first", "ignores quotation marks", "returns the same hit twice", "times out on long queries", "forgets the filters on page two"}},
	{"onboarding", "ONB",
		[]string{"welcome tour", "team invitation", "sample workspace", "setup checklist", "import wizard", "role picker", "first-run survey"},
		[]string{"starts again on every login", "sends the invitation to the wrong address", "loses progress when the tab is closed", "skips the last step on small screens", "assigns the guest role to owners"}},
	{"notifications", "NTF",
		[]string{"digest mail", "mention alert", "quiet hours", "push channel", "subscription list", "delivery log", "unread badge"},
		[]string{"arrives a day late", "is sent to people who left the project", "counts a thread twice", "ignores quiet hours across midnight", "opens the wrong work item", "repeats after a restart of the queue"}},
	{"the mobile app", "MOB",
		[]string{"offline mode", "photo upload", "home screen widget", "biometric login", "sync queue", "board view", "share sheet"},
		[]string{"drains the battery in the background", "crashes when the photo is larger than 20 MB", "shows stale boards after the train tunnel", "asks for a login after every update", "loses edits made offline"}},
	{"reporting", "REP",
		[]string{"burndown chart", "velocity report", "CSV export", "scheduled report", "dashboard tile", "date range picker", "custom metric", "cumulative flow diagram"},
		[]string{"includes cancelled items", "is off by one day in winter", "cuts the export at ten thousand rows", "mixes points and hours", "takes a minute to load for large projects"}},
	{"access control", "ACL",
		[]string{"single sign-on", "permission matrix", "audit log", "guest access", "session policy", "API token", "group mapping"},
		[]string{"keeps sessions alive after a role change", "shows private projects in the switcher", "does not record who approved", "rejects names with an apostrophe", "lets tokens outlive their owner"}},
	{"integrations", "INT",
		[]string{"webhook delivery", "calendar sync", "Git connector", "chat command", "OAuth screen", "field mapping", "event replay", "rate limiter"},
		[]string{"retries for ever on a 410", "maps the wrong custom field", "creates a second calendar entry", "sends events out of order", "signs the body before it is compressed"}},
	{"the editor", "EDT",
		[]string{"table block", "slash menu", "comment thread", "version history", "embedded diagram", "code block", "page template", "find and replace"},
		[]string{"moves the cursor while others type", "pastes tables as plain text", "loses the last keystroke before saving", "shows a deleted comment as open", "breaks links when a page is moved"}},
	{"data import", "IMP",
		[]string{"CSV mapping", "attachment transfer", "dry run", "rollback", "progress page", "duplicate check", "user matching", "error report"},
		[]string{"stops at the first bad row", "reads dates as American", "imports closed items as open", "counts skipped rows as imported", "runs out of memory on a two-gigabyte file"}},
	{"performance", "PRF",
		[]string{"board query", "cache layer", "cold start", "asset bundle", "connection pool", "slow query log", "load test", "background worker"},
		[]string{"doubles its latency at noon", "fetches every comment for the count", "invalidates the whole cache on one edit", "holds a transaction open while it renders", "starves small tenants"}},
	{"planning", "PLN",
		[]string{"roadmap view", "cycle planner", "capacity forecast", "dependency graph", "estimate poll", "backlog ranking", "milestone", "release calendar"},
		[]string{"forgets the order after a filter", "moves dependent items without asking", "plans for people on leave", "shows finished epics as late", "counts sub-items twice"}},
}

var people = []string{
	"Amara Okafor", "Benedikt Huber", "Chiara Rossi", "Dmitri Volkov", "Elif Yılmaz", "Farah Haddad", "Grace Kim", "Hugo Lefèvre",
	"Ines Carvalho", "Jonas Lindqvist", "Kavya Reddy", "Liam O'Connor", "Mei Tanaka", "Noah Williams", "Olga Nowak", "Pablo Muñoz",
	"Quinn Taylor", "Ravi Sharma", "Søren Kjær", "Tessa de Vries", "Uma Krishnan", "Viktor Horváth", "Wanjiru Mwangi", "Zoë Martin",
}

var (
	teams     = []string{"the platform team", "the support desk", "the design group", "the data team", "the release crew", "the security group", "the growth team", "customer success"}
	customers = []string{"a school district in Ohio", "a shipyard in Gdańsk", "a hospital group", "a two-person studio", "a bank with strict auditors", "a game publisher", "a city administration", "a logistics firm in Rotterdam"}
	labels    = []string{"backend", "frontend", "api", "database", "security", "accessibility", "documentation", "regression", "customer request", "technical debt", "quick win", "needs design", "performance", "compliance"}
	roles     = []string{"a project manager", "a developer", "an administrator", "a guest reviewer", "a support agent", "a team lead", "a finance officer", "a new member of the team", "a product owner", "an auditor"}
)

var workTitles = []string{
	"Fix: {thing} {fault}", "{Thing} {fault}", "Add tests for the {thing}", "Write a runbook for the {thing}", "Move the {thing} to the new API",
	"Investigate why the {thing} {fault}", "Remove the old {thing}", "Make the {thing} accessible by keyboard", "Measure the {thing} in production",
	"Put the {thing} behind a flag", "Split the {thing} from the {thing}", "Show a clear error when the {thing} {fault}", "Document the {thing} for {team}",
	"Review the {thing} with {team}", "Speed up the {thing}", "Translate the {thing}", "Backfill data for the {thing}",
}

var workSentences = []string{
	"{Customer} reported that the {thing} {fault}.", "It was first seen {when}, in a workspace with {count} members.",
	"The cause is most likely the {thing}, which was changed together with the {thing}.", "Until this is done, {team} works around it by hand.",
	"The log shows {count} warnings for each request, none of which names the tenant.", "Please add a test that fails without the change.",
	"{Person} has a branch with a first attempt.", "The fix must not change what the API returns to existing clients.",
	"About {percent} of all requests are affected.", "We agreed {when} to keep the old behaviour behind a setting for one release.",
	"Steps: open the {thing}, change a value, reload, and compare with the audit entry.", "Expected: the {thing} keeps the value. Actual: it {fault}.",
	"The dashboards of {team} did not show it, because they average over the hour.", "Rolling back is safe, since no stored data changes.",
}

var projectSentences = []string{
	"This project brings {area} to a state that {team} can rely on.", "It was started because {customer} could not finish its rollout without it.",
	"The first milestone covers the {thing} and the {thing}.", "Success means that support requests about {area} fall by {percent}.",
	"{Person} coordinates with {team} and {team}.", "Work that belongs to other areas is out of scope, even where the {thing} touches it.",
	"We review progress every second Thursday and publish the notes as pages.", "The budget covers {count} people until the end of the year.",
	"Risks: the {thing} depends on a supplier, and the {thing} has no tests yet.", "An earlier attempt failed because the {thing} {fault}.",
}

var epicTitles = []string{
	"A {thing} that scales to large workspaces", "One place for the {thing} and the {thing}", "Rework of the {thing}", "{Area} without waiting",
	"Trustworthy {thing}", "{Thing} for enterprise customers", "Retire the legacy {thing}", "Self-service {thing}", "{Area}: close the gaps",
}

var epicSentences = []string{
	"Users tell us that the {thing} {fault}, and they are right.", "This epic replaces the {thing} step by step, so that every release can be shipped on its own.",
	"The design was reviewed by {team} {when}.", "{Customer} takes part in the beta and gets a weekly build.",
	"The largest unknown is how the {thing} behaves when the {thing} is unavailable.", "We measure the outcome by the share of sessions that use the {thing}, today {percent}.",
	"Stories that only concern the {thing} are tracked in their own feature.", "The data model stays compatible; old clients read the new records.",
	"A prototype by {person} showed that the approach holds for {count} projects at once.", "Documentation and training are a part of this epic, not an afterthought.",
	"After the launch the old {thing} stays readable for ninety days.",
}

var goals = []string{
	"Reduce complaints about the {thing} by {percent}", "Ship the {thing} to {customer}", "Bring the {thing} below 200 ms at the 95th percentile",
	"No manual step by {team}", "Cover the {thing} with end-to-end tests", "Publish a migration guide for the {thing}", "Retire the old {thing} by the end of the quarter",
}

var moduleSentences = []string{
	"Owns the {thing} and everything that writes to it.", "Other modules reach it by its API only; nobody reads its tables.",
	"{Team} is on call for it, with {person} as the second contact.", "It was split from the {thing} {when}.", "Known weakness: it {fault}.",
	"The test suite runs in {count} minutes and uses recorded traffic.", "Deployments are gradual, {percent} of the tenants at a time.",
	"Its configuration lives next to the code and is validated before every release.",
}

var cycleThemes = []string{"harden the {thing}", "the {thing} beta", "fewer surprises in {area}", "pay back debt", "prepare the launch", "the {thing} and the {thing}", "make support happy", "measure first"}

var cycleSentences = []string{
	"The focus of this cycle is the {thing}.", "We carry over {count} items from the last cycle, most of them about the {thing}.",
	"{Person} is on leave in the second week, so the plan leaves room.", "The cycle is done when {customer} confirms that nothing {fault} any more.",
	"{Team} joins the daily on Tuesdays.", "In the retrospective we found that reviews took longer than the work.", "No release is planned for the last two days.",
	"We try smaller pull requests this time and compare the lead time afterwards.",
}

var featureTitles = []string{
	"{Thing}", "{Thing} with preview", "Bulk changes for the {thing}", "{Thing} history", "Keyboard shortcuts for the {thing}", "{Thing} templates",
	"Share a {thing}", "Undo for the {thing}", "Per-team {thing}", "{Thing} API",
}

var featureSentences = []string{
	"The {thing} lets people see at a glance what has changed and why.", "It appears in the side bar once an administrator has turned it on.",
	"Where the {thing} {fault} today, the feature shows a clear state and a way to try again.", "Permissions follow those of the project; guests can look but not change.",
	"All texts are ready for translation, and the layout was tried with long German words.", "{Team} asked for it, and {customer} has agreed to test it.",
	"The first version leaves out the {thing}, which is tracked as a story.", "It adds one request of about 40 ms to the page.",
	"Every change is written to the audit log with its author and the former value.", "We will know that it works when {percent} of active teams use it weekly.",
	"The empty state explains the {thing} in two sentences and links to the guide.",
}

var wants = []string{
	"see who changed the {thing}", "export the {thing} as a spreadsheet", "undo a change of the {thing}", "be told when the {thing} {fault}",
	"filter the {thing} by team", "copy the {thing} to another project", "lock the {thing} before an audit", "try the {thing} without touching real data",
	"reach the {thing} with the keyboard", "compare the {thing} with last month", "hand the {thing} over to a colleague", "set a default for the {thing}",
}

var reasons = []string{
	"I can answer {customer} without asking {team}", "nothing is lost when I am away", "the monthly review takes minutes, not hours", "mistakes are found before customers find them",
	"new colleagues understand how we work", "I can trust the numbers in the {thing}", "we keep to the agreement with our auditors", "I don't have to open {count} tabs",
}

var storySentences = []string{
	"Today people ask {team}, which costs about {percent} of its time.", "In interviews {when} this was named by {count} of the participants.",
	"A simple list is enough for the first version.", "The wording was checked with {customer}.", "It should work on a phone as well.",
	"See the sketch by {person} for the order of the fields.", "If the {thing} {fault}, the story is not done.",
}

var criteria = []string{
	"The {thing} keeps its value after a reload", "A member without permission sees an explanation, not an error", "The change appears in the audit log within a minute",
	"With {count} entries the page still opens in under a second", "Nothing is sent while a field is invalid", "The {thing} can be used without a mouse",
	"Given an empty project, when the {thing} is opened, then the guide is shown", "An undo within ten seconds restores the former state",
	"The export holds the same rows as the screen", "{Team} has tried it and signed it off",
}

var pageTitles = []string{
	"How the {thing} works", "Decision: one {thing} for all plans", "Runbook: the {thing} {fault}", "Notes from the review of {area}", "Getting started with {area}",
	"Retrospective: the {thing} launch", "{Thing}: frequently asked questions", "Onboarding for new members of {team}", "Glossary of {area}", "Checklist before a release of the {thing}",
	"Post-mortem: the {thing} {fault}", "Interview with {customer}",
}

var headings = []string{
	"Background", "Decision", "Alternatives", "How it works", "What can go wrong", "Who to ask", "Next steps", "Measurements", "Timeline", "Roll-out", "Open questions", "Security", "Cost",
}

var pageSentences = []string{
	"This page describes the {thing} as it is today; plans are kept elsewhere.", "The {thing} was introduced when {customer} outgrew the old way of working.",
	"If you only have a minute, read the summary and the section on what can go wrong.", "A request first passes the {thing}, then the {thing}, and is answered from the cache in {percent} of the cases.",
	"The most common mistake is to change the {thing} while the {thing} is still running.", "When it {fault}, look at the delivery log first and only then at the database.",
	"We considered buying a product, but of {count} candidates none could keep the data in the region.", "{Person} and {person} wrote the first version {when}.",
	"Numbers on this page come from the monthly report and are rounded.", "The contract with the supplier ends next spring, and {team} negotiates the next one.",
	"Please keep examples free of customer names.", "To try it locally, start the sandbox, load the sample workspace and open the {thing}.",
	"Nobody should have to know this by heart: the checklist is linked from every alert.", "The trade-off is simple: a little more latency for a result that can be explained.",
	"{Team} reviews this page twice a year.", "An alert fires when more than {percent} of the checks fail for five minutes.",
}

var commentSentences = []string{
	"I can reproduce this, see the trace.", "Fixed on the branch, please have a look.", "{Team} says that the {thing} {fault} on staging as well.", "Moved to the next cycle.",
	"Thanks, that was quick!", "Could we agree on the wording with {team} first?", "This needs a migration, so I split it in two.", "Merged {when}.",
}

// anywhere fits into any text.
var anywhere = []string{
	"{Person} will follow up with {team}.", "A short recording is attached to the notes.", "The figures were confirmed {when}.", "More than {count} people have read the draft.",
	"The {thing} is the part that needs the most care.", "Nothing here depends on the {thing}.", "If in doubt, ask in the channel of {team}.", "The change is small, but it is seen by everyone.",
	"{Customer} is informed about the schedule.", "We keep the old {thing} until the numbers are stable.", "The risk is low, as the {thing} can be switched off at any time.",
	"Costs rise by {percent} at most.", "Two reviewers are enough for this.", "The names follow the glossary.",
}
