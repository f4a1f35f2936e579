package sample

import (
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Document returns the document with an index, which must not be negative.
func (g Generator) Document(index int) Document {
	collection := slots[index%len(slots)]
	w := writer{g: g, index: index, dice: g.dice(index, "body"), at: created(index)}
	w.area = w.areaOf(index)
	w.updated = w.at.Add(time.Duration(w.n(40*24*60*60*1000)) * time.Millisecond)

	var body bson.D
	switch collection {
	case Page:
		body = w.page()
	case WorkItem:
		body = w.workItem()
	case Project:
		body = w.project()
	case Cycle:
		body = w.cycle()
	case Module:
		body = w.module()
	case Epic:
		body = w.epic()
	case Features:
		body = w.feature()
	case UserStory:
		body = w.userStory()
	}
	doc := append(bson.D{{Key: "_id", Value: g.id(index)}}, body...)
	return Document{Collection: collection, Body: append(doc,
		bson.E{Key: "createdBy", Value: w.person()},
		bson.E{Key: "createdAt", Value: bson.NewDateTimeFromTime(w.at)},
		bson.E{Key: "updatedAt", Value: bson.NewDateTimeFromTime(w.updated)},
	)}
}

// writer makes one document.
type writer struct {
	g           Generator
	index       int
	area        area
	at, updated time.Time
	*dice
}

func (w writer) project() bson.D {
	return bson.D{
		{Key: "name", Value: projectName(w.area, w.index)},
		{Key: "key", Value: w.area.key},
		{Key: "description", Value: w.text(projectSentences, 3, 6)},
		{Key: "status", Value: pick(w.dice, "planned", "active", "active", "active", "on hold", "completed")},
		{Key: "priority", Value: w.priority()},
		{Key: "lead", Value: w.person()},
		{Key: "members", Value: w.people(3, 8)},
		{Key: "labels", Value: w.labels()},
		{Key: "startDate", Value: w.day(-20, 10)},
		{Key: "targetDate", Value: w.day(60, 240)},
		{Key: "budget", Value: w.budget()},
		{Key: "storageBytes", Value: int64(w.n(1<<20)) << 16},
		{Key: "settings", Value: bson.D{
			{Key: "visibility", Value: pick(w.dice, "company", "team", "private")},
			{Key: "estimates", Value: bson.D{{Key: "unit", Value: "points"}, {Key: "scale", Value: bson.A{int32(1), int32(2), int32(3), int32(5), int32(8), int32(13)}}}},
			{Key: "archiveAfterDays", Value: w.orNull(3, int32(30*(1+w.n(6))))},
		}},
	}
}

func (w writer) epic() bson.D {
	return bson.D{
		{Key: "title", Value: w.fill(pick(w.dice, epicTitles...))},
		{Key: "description", Value: w.textOf(epicSentences, 3, 7, 5, 12, 24)},
		{Key: "goals", Value: w.list(goals, 2, 4)},
		{Key: "status", Value: pick(w.dice, "draft", "in progress", "in progress", "done", "cancelled")},
		{Key: "priority", Value: w.priority()},
		{Key: "owner", Value: w.person()},
		{Key: "project", Value: w.projectRef()},
		{Key: "labels", Value: w.labels()},
		{Key: "progress", Value: float64(w.n(101)) / 100},
		{Key: "quarter", Value: fmt.Sprintf("%d-Q%d", w.at.Year(), (int(w.at.Month())+2)/3)},
	}
}

func (w writer) module() bson.D {
	return bson.D{
		{Key: "name", Value: w.fill(pick(w.dice, "{Thing}", "{Area}: {thing}", "{Thing} service", "Core of {area}"))},
		{Key: "description", Value: w.text(moduleSentences, 2, 5)},
		{Key: "status", Value: pick(w.dice, "backlog", "planned", "in progress", "paused", "completed")},
		{Key: "lead", Value: w.person()},
		{Key: "members", Value: w.people(1, 5)},
		{Key: "project", Value: w.projectRef()},
		{Key: "epic", Value: w.orNull(4, w.ref(epicSlot))},
		{Key: "repository", Value: "git.example.com/" + strings.ToLower(w.area.key) + "/" + strings.ReplaceAll(strings.ToLower(w.fill("{thing}")), " ", "-")},
		{Key: "linesOfCode", Value: int64(800 + w.n(90_000))},
	}
}

func (w writer) cycle() bson.D {
	number := w.index/len(slots) + 1
	start := w.at.Truncate(24 * time.Hour)
	return bson.D{
		{Key: "name", Value: fmt.Sprintf("Cycle %d: %s", number, w.fill(pick(w.dice, cycleThemes...)))},
		{Key: "number", Value: int32(number)},
		{Key: "description", Value: w.text(cycleSentences, 2, 5)},
		{Key: "status", Value: pick(w.dice, "upcoming", "current", "completed", "completed")},
		{Key: "project", Value: w.projectRef()},
		{Key: "startDate", Value: bson.NewDateTimeFromTime(start)},
		{Key: "endDate", Value: bson.NewDateTimeFromTime(start.AddDate(0, 0, 14))},
		{Key: "capacity", Value: bson.D{
			{Key: "points", Value: int32(20 + w.n(60))},
			{Key: "people", Value: int32(3 + w.n(6))},
			{Key: "focusFactor", Value: float64(60+w.n(35)) / 100},
		}},
		{Key: "velocity", Value: w.orNull(4, float64(w.n(600))/10)},
	}
}

func (w writer) feature() bson.D {
	return bson.D{
		{Key: "title", Value: w.fill(pick(w.dice, featureTitles...))},
		{Key: "description", Value: w.textOf(featureSentences, 3, 7, 6, 12, 26)},
		{Key: "acceptanceCriteria", Value: w.list(criteria, 2, 5)},
		{Key: "status", Value: pick(w.dice, "idea", "planned", "in progress", "beta", "released")},
		{Key: "priority", Value: w.priority()},
		{Key: "project", Value: w.projectRef()},
		{Key: "epic", Value: w.ref(epicSlot)},
		{Key: "module", Value: w.orNull(3, w.ref(moduleSlot))},
		{Key: "owner", Value: w.person()},
		{Key: "labels", Value: w.labels()},
		{Key: "estimate", Value: w.points()},
		{Key: "flag", Value: bson.D{
			{Key: "key", Value: strings.ToLower(w.area.key) + "." + strings.ReplaceAll(strings.ToLower(w.fill("{thing}")), " ", "_")},
			{Key: "enabled", Value: w.n(2) == 0},
			{Key: "rollout", Value: float64(w.n(21)) * 5},
		}},
		{Key: "releasedAt", Value: w.orNull(2, w.day(20, 90))},
	}
}

func (w writer) userStory() bson.D {
	role, want, why := pick(w.dice, roles...), w.fill(pick(w.dice, wants...)), w.fill(pick(w.dice, reasons...))
	return bson.D{
		{Key: "title", Value: upperFirst(want)},
		{Key: "story", Value: fmt.Sprintf("As %s, I want to %s so that %s.", role, want, why)},
		{Key: "description", Value: w.text(storySentences, 1, 5)},
		{Key: "acceptanceCriteria", Value: w.list(criteria, 2, 5)},
		{Key: "status", Value: pick(w.dice, "open", "ready", "in progress", "accepted", "rejected")},
		{Key: "priority", Value: w.priority()},
		{Key: "persona", Value: role},
		{Key: "feature", Value: w.ref(featureSlot)},
		{Key: "project", Value: w.projectRef()},
		{Key: "estimate", Value: w.points()},
		{Key: "votes", Value: int32(w.n(60))},
	}
}

func (w writer) workItem() bson.D {
	status := pick(w.dice, "backlog", "backlog", "todo", "todo", "in progress", "in progress", "in review", "done", "done", "done", "cancelled")
	var completed any
	if status == "done" {
		completed = bson.NewDateTimeFromTime(w.updated)
	}
	body := bson.D{
		{Key: "displayId", Value: fmt.Sprintf("%s-%d", w.area.key, w.index+1)},
		{Key: "sequence", Value: int64(w.index) + 1},
		{Key: "title", Value: w.fill(pick(w.dice, workTitles...))},
		{Key: "description", Value: w.textOf(workSentences, 2, 6, 10, 12, 24)},
		{Key: "type", Value: pick(w.dice, "bug", "bug", "task", "task", "task", "improvement", "chore")},
		{Key: "status", Value: status},
		{Key: "priority", Value: w.priority()},
		{Key: "project", Value: w.projectRef()},
		{Key: "cycle", Value: w.orNull(3, w.ref(cycleSlot))},
		{Key: "module", Value: w.orNull(2, w.ref(moduleSlot))},
		{Key: "assignees", Value: w.people(0, 3)},
		{Key: "labels", Value: w.labels()},
		{Key: "estimate", Value: w.orNull(5, w.points())},
		{Key: "time", Value: bson.D{
			{Key: "spentHours", Value: float64(w.n(160)) / 4},
			{Key: "remainingHours", Value: float64(w.n(80)) / 4},
		}},
		{Key: "dueDate", Value: w.orNull(3, w.day(3, 60))},
		{Key: "completedAt", Value: completed},
	}
	if w.n(4) == 0 {
		body = append(body, bson.E{Key: "comments", Value: w.comments()})
	}
	if w.n(8) == 0 && w.index >= len(slots) {
		body = append(body, bson.E{Key: "blockedBy", Value: bson.A{w.ref(workItemSlot)}})
	}
	if w.n(10) == 0 {
		body = append(body, bson.E{Key: "attachments", Value: bson.A{bson.D{
			{Key: "name", Value: pick(w.dice, "screenshot.png", "trace.json", "export.csv", "log.txt", "mockup.pdf")},
			{Key: "bytes", Value: int64(2_000 + w.n(4_000_000))},
			{Key: "sha256", Value: bson.Binary{Data: w.bytes(32)}},
		}}})
	}
	return body
}

func (w writer) page() bson.D {
	title := w.fill(pick(w.dice, pageTitles...))
	var content strings.Builder
	sections := 1 + w.n(3)
	if w.n(3) == 0 { // a long page, of several chunks
		sections = 4 + w.n(5)
	}
	var sentences []string
	text := func(n int) string { // no sentence twice before all have been used
		if len(sentences) < n {
			sentences = w.shuffled(pageSentences)
		}
		dealt := sentences[:n]
		sentences = sentences[n:]
		return w.paragraphs(dealt)
	}
	content.WriteString(text(2 + w.n(4)))
	for _, heading := range sample(w.dice, headings, sections) {
		fmt.Fprintf(&content, "\n\n## %s\n\n%s", heading, text(3+w.n(6)))
		if w.n(3) == 0 {
			for _, step := range sample(w.dice, criteria, 3) {
				content.WriteString("\n- " + w.fill(step))
			}
		}
	}
	return bson.D{
		{Key: "title", Value: title},
		{Key: "content", Value: content.String()},
		{Key: "kind", Value: pick(w.dice, "guide", "decision", "meeting", "runbook", "reference", "retrospective")},
		{Key: "status", Value: pick(w.dice, "draft", "published", "published", "published", "archived")},
		{Key: "project", Value: w.projectRef()},
		{Key: "labels", Value: w.labels()},
		{Key: "contributors", Value: w.people(1, 4)},
		{Key: "views", Value: int64(w.n(20_000))},
		{Key: "pinned", Value: w.n(12) == 0},
		{Key: "parent", Value: nil},
		{Key: "language", Value: "en"},
	}
}

// areaOf returns the part of the product that a document is about: that of its project.
func (w writer) areaOf(index int) area {
	return areas[index/len(slots)%len(areas)]
}

func projectName(a area, index int) string {
	round := index / len(slots) / len(areas)
	if round == 0 {
		return upperFirst(a.name)
	}
	return fmt.Sprintf("%s, phase %d", upperFirst(a.name), round+1)
}

// projectRef refers to the document's project the way the application would: by id,
// with the name copied.
func (w writer) projectRef() bson.D {
	index := w.index/len(slots)*len(slots) + projectSlot
	return bson.D{{Key: "_id", Value: w.g.id(index)}, {Key: "name", Value: projectName(w.area, index)}}
}

func (w writer) ref(slot int) any { return w.g.id(refer(w.dice, w.index, slot)) }

func (w writer) person() bson.D { return personAt(w.n(len(people))) }

func personAt(i int) bson.D {
	ascii := strings.NewReplacer(" ", ".", "'", "", "á", "a", "æ", "ae", "è", "e", "ë", "e", "ı", "i", "ñ", "n", "ø", "o")
	name := people[i]
	return bson.D{
		{Key: "_id", Value: bson.ObjectID{0x65, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(i + 1)}},
		{Key: "name", Value: name},
		{Key: "email", Value: strings.ToLower(ascii.Replace(name)) + "@example.com"},
	}
}

func (w writer) people(low, high int) bson.A {
	out := bson.A{}
	indexes := make([]int, len(people))
	for i := range indexes {
		indexes[i] = i
	}
	for _, i := range sample(w.dice, indexes, low+w.n(high-low+1)) {
		out = append(out, personAt(i))
	}
	return out
}

func (w writer) labels() bson.A {
	out := bson.A{}
	for _, l := range sample(w.dice, labels, w.n(4)) {
		out = append(out, l)
	}
	return out
}

func (w writer) list(templates []string, low, high int) bson.A {
	out := bson.A{}
	for _, t := range sample(w.dice, templates, low+w.n(high-low+1)) {
		out = append(out, w.fill(t))
	}
	return out
}

func (w writer) comments() bson.A {
	out := bson.A{}
	at := w.at
	for range 1 + w.n(4) {
		at = at.Add(time.Duration(1+w.n(4000)) * time.Minute)
		out = append(out, bson.D{
			{Key: "author", Value: w.person()},
			{Key: "text", Value: w.text(commentSentences, 1, 2)},
			{Key: "at", Value: bson.NewDateTimeFromTime(at)},
		})
	}
	return out
}

func (w writer) priority() string {
	return pick(w.dice, "none", "low", "low", "medium", "medium", "medium", "high", "high", "urgent")
}

func (w writer) points() int32 { return pick[int32](w.dice, 1, 2, 2, 3, 3, 5, 5, 8, 13) }

func (w writer) day(low, high int) bson.DateTime {
	return bson.NewDateTimeFromTime(w.at.Truncate(24*time.Hour).AddDate(0, 0, low+w.n(high-low+1)))
}

func (w writer) budget() any {
	cents := 1_000_000 + w.n(50_000_000)
	if w.g.Decimal128 {
		if d, err := bson.ParseDecimal128(fmt.Sprintf("%d.%02d", cents/100, cents%100)); err == nil {
			return d
		}
	}
	return float64(cents) / 100
}

// orNull is null in one of n cases.
func (w writer) orNull(n int, v any) any {
	if w.n(n) == 0 {
		return nil
	}
	return v
}
