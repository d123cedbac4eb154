import{h as e,i as t,t as n,y as r}from"./html.js";import{C as i,D as a,O as o,s,w as c}from"./app.js";function l(e){c(t=>n`<${u} ...${{change:e,close:t}} />`)}function u({change:c,close:l}){let[u,f]=r(c.body),[p,m]=r({}),[h,g]=r(),[_,v]=r(``),[y,b]=r(``),[x,S]=r(!1),C=JSON.stringify(u);e(()=>{},[C]);let w=c.danger===!0&&(c.count??0)>100,T=!x&&(!w||y===String(c.count)),E=async()=>{if(T){S(!0);try{let e=await o(c.method,c.path,{...u,..._!==``&&{reason:_},...p.expect!==void 0&&{expect:p.expect}});i.text=`${c.done} ${d(e.effect).join(` `)}`.trim(),i.until=Date.now()+1e4,c.after?.(),l()}catch(e){let t=e;t.status===409&&t.body!==void 0&&m(t.body),g(t),S(!1)}}};a({"Ctrl Enter":E});let D=d(p.effect),O=(e,t)=>n`<dt>${e}</dt><dd>${t}</dd>`;return n`<h2 id="dialog-title">${c.title}</h2>
<dl>
${O(`Now`,c.now)} ${O(`Then`,D.length===0?c.follows:D.map(e=>n`<div>${e}</div>`))}
${c.other&&O(c.other[0],c.other[1])} ${O(`Undo`,typeof p.undo==`string`&&p.undo!==``?p.undo:c.undo)}
${O(`Command`,n`<code>${c.command}</code>`)} ${c.choices&&O(`For`,c.choices(u,f))}
</dl>
${h&&n`<p class="problem" role="alert"><b>${h.status===409?`The state has changed; nothing was done.`:`${h.title}.`}</b> ${h.detail}</p>`}
<div class="buttons">
${c.reasons===!0?n`<input aria-label="Reason, for the log" placeholder="Reason, for the log (optional)" maxlength="200" value=${_} onInput=${e=>v(e.target.value)} />`:n`<i />`}
${w&&n`<input class="count" aria-label=${`Type ${c.count} to confirm`} placeholder=${`Type ${t(c.count??0)}`} value=${y} onInput=${e=>b(e.target.value.replaceAll(`,`,``))} />`}
<button data-first onClick=${l}>${c.keep} ${s(`Esc`)}</button>
<button class=${c.danger===!0?`danger`:`solid`} disabled=${!T} onClick=${E}>${c.confirm} ${s(`Ctrl ⏎`)}</button>
</div>`}function d(e){return typeof e==`string`?e===``?[]:[e]:Array.isArray(e)?e.map(String):[]}export{l as t};